"""The wheel holds all that the library needs, away from any checkout."""

import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.checkouts import ROOT

pytestmark = pytest.mark.slow
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
EXAMPLE = """
import doctest, diffusevae.api, sys, tempfile
from pathlib import Path
assert Path(diffusevae.__file__).is_relative_to(sys.prefix), diffusevae.__file__
found = doctest.testmod(diffusevae.api)
assert found.attempted and not found.failed
from diffusevae.sources.assets import fetch
fetch("raman", Path("raman"), scratch=Path("scratch"))  # which comes with the code
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """What `pip wheel .` makes of the tracked sources, built in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src", "pyproject.toml"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in listed:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    command = [*PIP, "wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", "out"]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    [built] = (folder / "out").iterdir()
    return built


def test_it_holds_every_module_and_page(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src/diffusevae").rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".md")
    }
    assert held == wanted


def test_installed_elsewhere_it_trains_and_its_command_asks_for_a_checkout(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    [place] = (tmp_path / "venv/lib").glob("python*/site-packages")
    # What the library needs is had from here. A folder named so has no .pth of its own obeyed:
    # the checkout, which is installed there by one, is out of reach.
    (place / "others.pth").write_text("\n".join(site.getsitepackages()))
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*PIP, *install], check=True, timeout=300)
    away = tmp_path / "away"
    away.mkdir()
    done = subprocess.run([python, "-c", EXAMPLE], cwd=away, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [tmp_path / "venv/bin/diffusevae", "run"], cwd=away, capture_output=True, text=True
    )
    assert done.returncode == 3 and done.stderr.startswith("error: ") and "checkout" in done.stderr
    assert done.stderr.count("\n") == 1
