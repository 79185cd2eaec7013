"""`dvc repro` where .venv is not activated: stages find an interpreter, or say what to do."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkouts import ROOT

COMMAND = ["-m", "diffusevae.stages", "download", "nothing", "--out", "out"]  # as dvc.yaml has it


def run(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *options, *COMMAND],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"} | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "diffusevae", tmp_path / "diffusevae")
    return tmp_path


def test_a_python_without_the_library_hands_over_to_that_of_the_checkout(folder):
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "src").symlink_to(ROOT / "src")
    done = run(folder, "-S", PYTHONPATH="")
    assert done.returncode == 2, done.stderr
    assert "error: download nothing: no such asset" in done.stderr


def test_where_there_is_none_a_line_says_what_to_do(folder):
    done = run(folder, "-S")
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert "does not know diffusevae; run `make setup`, then `source .venv/bin" in done.stderr


def test_a_python_that_lacks_a_package_is_named(folder):
    done = run(folder, "-S", PYTHONPATH=str(ROOT / "src"))
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert "is not installed for" in done.stderr and "source .venv/bin/activate" in done.stderr


def test_the_real_library_comes_before_what_stands_in_for_it(folder):
    code = "import diffusevae; print(diffusevae.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert Path(done.stdout.strip()).samefile(ROOT / "src/diffusevae/__init__.py")
