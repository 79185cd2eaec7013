"""The promise of reproducibility: on the same machine, the same bytes, by one command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkouts import SmokeRun

AGAIN = """\
import sys
from pathlib import Path
from tasks.dvc.lock import read_lock
from tasks.reproduction import make_again
make_again(["download@mnist", "prepare@mnist_tiny"], read_lock(), Path(sys.argv[1]), print)
"""


def run_python(checkout: Path, source: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python in the checkout, with the library from `source`."""
    path = os.pathsep.join([str(source), str(checkout)])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=1800,
    )


def reproduce(checkout: Path, experiment: str) -> subprocess.CompletedProcess:
    return run_python(checkout, checkout / "src", "-m", "diffusevae", "reproduce", experiment)


@pytest.mark.slow
def test_a_result_made_again_in_a_clean_folder_is_the_same_to_the_byte(smoke_run: SmokeRun):
    before = (smoke_run.checkout / "dvc.lock").read_bytes()
    done = reproduce(smoke_run.checkout, "smoke")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert done.stdout.count(": the same") == 13  # 12 stages, download twice
    assert "every file of 13 stages is the same, to the byte" in done.stdout
    assert (smoke_run.checkout / "dvc.lock").read_bytes() == before
    assert not list((smoke_run.checkout / "scratch").glob("tmp*"))


def test_a_random_number_without_a_seed_is_found_at_the_first_file(smoke_run, tmp_path):
    source = shutil.copytree(smoke_run.checkout / "src", tmp_path / "src")
    division = source / "diffusevae/data/division.py"
    planted = division.read_text().replace(
        "torch.randperm(len(classes), generator=rng)", "UNSEEDED"
    )
    assert planted.count("UNSEEDED") == 2
    division.write_text(planted.replace("UNSEEDED", "torch.randperm(len(classes))"))
    done = run_python(smoke_run.checkout, source, "-c", AGAIN, str(tmp_path / "clean"))
    assert "download@mnist: the same" in done.stdout
    path = "data/prepared/mnist_tiny/train.safetensors"
    assert f"NotReproduced: prepare@mnist_tiny: {path} differs: tensor images: " in done.stderr


def test_what_has_no_result_here_is_one_line(smoke_run: SmokeRun):
    done = reproduce(smoke_run.checkout, "guided_smoke")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == (
        "error: guided_smoke: dvc.lock has no result of tune_vae@guided_smoke; "
        "run guided_smoke first"
    )
