"""Disks that are full or cannot be written, as file systems of a test's own."""

import gzip
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkouts import ROOT
from tests.support.mounts import run_on
from tests.support.real_data import raw_folder

# What the stage download does, without MLflow, which would take its time.
FETCH = """\
import sys
from pathlib import Path
from diffusevae.core.command import run_command
from diffusevae.sources.assets import fetch
sys.exit(run_command(lambda: fetch("mnist", Path(sys.argv[1]), print)))
"""
DOWNLOAD = [sys.executable, "-c", FETCH, "out"]
PATHS = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


def one_line(done: subprocess.CompletedProcess) -> str:
    """Return the one line that a command said on stderr; it ended with exit code 3."""
    assert done.returncode == 3, done.stdout + done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    """A folder with MNIST, packed as it is published."""
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "mnist").mkdir()
    for path in raw_folder("mnist").iterdir():
        content = gzip.compress(path.read_bytes(), compresslevel=1)
        (folder / f"mnist/{path.name}.gz").write_bytes(content)
    return folder


def test_D11_a_disk_too_small_for_a_download_is_said_before_it(tmp_path, mirror):
    listing = ["sh", "-c", '"$@"; code=$?; find scratch -type f; exit $code', "sh", *DOWNLOAD]
    done = run_on(
        tmp_path / "scratch", "size=2m", listing, tmp_path, DIFFUSEVAE_MIRROR=str(mirror), **PATHS
    )
    assert "MB free; free disk space" in one_line(done) and "needs" in done.stderr
    left = [line for line in done.stdout.splitlines() if line.startswith("scratch/")]
    assert not [name for name in left if "idx" in name] and not list(tmp_path.glob("out/*"))


def test_D11_a_disk_that_fills_meanwhile_leaves_no_partial_file(tmp_path, mirror):
    """Nobody knows beforehand: here a limit on files is met in the middle of one."""
    done = subprocess.run(
        DOWNLOAD,
        cwd=tmp_path,
        env=os.environ | PATHS | {"DIFFUSEVAE_MIRROR": str(mirror)},
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000,) * 2),
    )
    assert "images-idx3-ubyte: File too large; free disk space" in one_line(done)
    whole = {path.name: path.stat().st_size for path in raw_folder("mnist").iterdir()}
    left = [path for place in ("scratch", "out") for path in (tmp_path / place).rglob("*-ubyte*")]
    assert all(path.stat().st_size == whole.get(path.name) for path in left), left


@pytest.mark.parametrize("place", ["scratch", "data"])
def test_D12_a_folder_that_cannot_be_written_is_said_before_any_work(tmp_path, mirror, place):
    command = [*DOWNLOAD[:-1], "data/out"]
    done = run_on(tmp_path / place, "ro", command, tmp_path, DIFFUSEVAE_MIRROR=str(mirror), **PATHS)
    line = one_line(done)
    assert place in line and "Read-only file system" in line
    assert "MNIST" not in done.stdout and not list(tmp_path.rglob("*idx*-ubyte"))


# A training whose disk is full when 6 of its 12 batches are done, and that goes on when there is
# room again.
FULL = """\
import os, sys
from pathlib import Path
import diffusevae.training.checkpointer
from diffusevae.core.command import run_command
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.loop import Callbacks
from tests.support.resumable import BATCHES, train

diffusevae.training.checkpointer.SECONDS_BETWEEN = 0
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
filler = folder / "filler"

def fill(epoch, done, total, epochs):
    if (epoch - 1) * BATCHES + done == 6:
        with open(filler, "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass

def names():
    return sorted(path.name for path in folder.glob("progress/*"))

code = run_command(lambda: train(Checkpointer(folder / "progress", print), out / "cut",
                                 Callbacks(on_batch=fill)))
print("left", *names())
filler.unlink()
train(Checkpointer(folder / "progress", print), out / "cut", Callbacks(
    on_resume=lambda history, epoch, batch: print("on", epoch, batch)))
train(None, out / "unbroken", Callbacks())
sys.exit(code)
"""


def test_T15_a_disk_that_is_full_at_a_checkpoint_leaves_the_ones_before_it(tmp_path):
    command = [sys.executable, "-c", FULL, "full", str(tmp_path)]
    done = run_on(tmp_path / "full", "size=64m", command, tmp_path, **PATHS)
    assert "free disk space" in one_line(done)
    left, went_on = [line.split() for line in done.stdout.splitlines()]
    assert [name[:11] for name in left[1:]] == ["0000000004-", "0000000005-"]
    assert went_on == ["on", "2", "1"]
    for name in ("model.safetensors", "history.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


def test_T16_a_folder_of_checkpoints_that_cannot_be_written_is_said_at_the_start(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "best.yaml").write_text("{}")
    command = [sys.executable, "-m", "diffusevae.stages", "train_vae", "smoke"]
    for name in ("train", "validation", "best.yaml", "out"):
        command += [f"--{Path(name).stem}", name]
    done = run_on(tmp_path / "scratch", "ro", command, tmp_path, **PATHS)
    assert "scratch" in one_line(done) and "Read-only file system" in done.stderr
    assert done.stdout == ""
