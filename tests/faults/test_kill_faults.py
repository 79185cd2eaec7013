"""Kills on the way from a mirror to the checkout, and a registry whose database is gone."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.crashes import HOOK, spread
from tests.faults.operations import STORE, hash_files, prepare_toy, read_versions
from tests.support.checkouts import ROOT
from tests.support.real_data import raw_folder

PATHS = [str(ROOT / "src"), str(ROOT)]
FETCH = """\
import sys
from pathlib import Path
from diffusevae.sources.assets import fetch
fetch("mnist", Path("out"), print)
"""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    """A folder with MNIST, its labels packed."""
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "mnist").mkdir()
    for path in raw_folder("mnist").iterdir():
        if "labels" in path.name:
            (folder / f"mnist/{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        else:
            (folder / f"mnist/{path.name}").symlink_to(path)
    return folder


def fetch(folder: Path, mirror: Path, point: int) -> list[str]:
    """Fetch MNIST, dying at a point where that is not 0; return the points that were passed."""
    ledger = folder / f"ledger-{point}"
    ledger.mkdir(parents=True)
    checkout = folder / "checkout"
    checkout.mkdir(exist_ok=True)
    variables = {
        "DIFFUSEVAE_MIRROR": str(mirror),
        "FAULT_SCOPE": str(checkout),
        "FAULT_LEDGER": str(ledger),
        "FAULT_POINT": str(point),
        "FAULT_REACH": "one",
        "PYTHONPATH": os.pathsep.join([str(HOOK), *PATHS]),
    }
    done = subprocess.run(
        [sys.executable, "-c", FETCH],
        cwd=checkout,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == (-9 if point else 0), done.stderr
    return (ledger / "names").read_text().splitlines()


@pytest.mark.parametrize("count", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_D16_a_download_killed_at_any_write_is_whole_after_the_next(tmp_path, mirror, count):
    points = fetch(tmp_path / "unbroken", mirror, 0)
    whole = hash_files(tmp_path / "unbroken/checkout/out")
    assert len(whole) == 4 and len(points) > 12
    for point in spread(count + 2, len(points))[1:-1]:
        folder = tmp_path / str(point)
        fetch(folder, mirror, point)
        fetch(folder, mirror, 0)
        assert hash_files(folder / "checkout/out") == whole, points[point - 1]
        assert not list(folder.rglob("*.partial"))


def register(folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "tests.faults.operations", "register"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(PATHS), "MLFLOW_TRACKING_URI": ""},
        check=True,
        timeout=300,
    )


@pytest.mark.slow
def test_R7_a_registry_that_is_lost_is_filled_again_by_the_next_run(tmp_path):
    prepare_toy(tmp_path / "checkout")
    register(tmp_path / "checkout")
    before = read_versions(tmp_path / "checkout")
    (tmp_path / "checkout" / STORE).unlink()
    register(tmp_path / "checkout")
    assert read_versions(tmp_path / "checkout") == before and len(before["versions"]) == 1
