"""The promise of reproducibility: on the same machine, the same bytes, by one command."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.checkouts import SmokeRun

# As if a library had another way to shuffle than the one with which the result was made.
OTHER_LIBRARY = """\
import torch
randperm = torch.randperm
torch.randperm = lambda *arguments, **options: randperm(*arguments, **options).flip(0)
"""


def reproduce(checkout: Path, *paths: Path) -> subprocess.CompletedProcess:
    """Make `smoke` again, with folders from which Python imports first."""
    path = os.pathsep.join(map(str, [*paths, checkout / "src"]))
    return subprocess.run(
        [sys.executable, "-m", "flows.reproduce", "smoke"],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=1800,
    )


def test_a_result_made_again_in_a_clean_folder_is_the_same_to_the_byte(smoke_run: SmokeRun):
    before = (smoke_run.checkout / "dvc.lock").read_bytes()
    done = reproduce(smoke_run.checkout)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert done.stdout.count(": the same") == 13  # 12 stages, download twice
    assert "every file of 13 stages is the same, to the byte" in done.stdout
    assert (smoke_run.checkout / "dvc.lock").read_bytes() == before
    assert not list((smoke_run.checkout / "scratch").glob("tmp*"))


def test_a_library_that_shuffles_differently_is_found_at_the_first_file(smoke_run, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(OTHER_LIBRARY)
    done = reproduce(smoke_run.checkout, tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    path = "data/prepared/mnist_tiny/test.safetensors"
    assert line.startswith(f"error: prepare@mnist_tiny: {path} differs: tensor images: ")


def test_what_has_no_result_here_is_one_line(smoke_run: SmokeRun):
    done = subprocess.run(
        [sys.executable, "-m", "flows.reproduce", "guided_smoke"],
        cwd=smoke_run.checkout,
        env=os.environ | {"PYTHONPATH": str(smoke_run.checkout / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == (
        "error: guided_smoke: dvc.lock has no result of tune_vae@guided_smoke; "
        "run guided_smoke first"
    )
