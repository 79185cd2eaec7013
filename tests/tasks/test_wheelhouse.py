"""What `make wheelhouse` packs, and for which Pythons."""

import io
import re
import subprocess
import tarfile
import tomllib

import pytest
from packaging.specifiers import SpecifierSet

from diffusevae.core.errors import InputError
from tasks import wheelhouse
from tests.support.checkouts import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SUPPORTED = ["3.11", "3.12", "3.13"]


def test_every_text_says_which_pythons_are_supported():
    named = [text.rsplit(" ", 1)[1] for text in PROJECT["classifiers"] if "Python" in text]
    specifiers = SpecifierSet(PROJECT["requires-python"])
    minors = [f"3.{minor}" for minor in range(20) if f"3.{minor}" in specifiers]
    assert named == minors == SUPPORTED
    readme = re.sub(r"\s+", " ", (ROOT / "README.md").read_text())
    assert f"Python {SUPPORTED[0]} to {SUPPORTED[-1]}," in readme
    makefile = (ROOT / "Makefile").read_text()
    assert "(3, 11) <= sys.version_info < (3, 14)" in makefile
    assert all(f"command -v python{version}" in makefile for version in SUPPORTED)


@pytest.mark.parametrize("version", ["3.10", "3.14", "3", "3.12.1", "python3.12", "../3.12", ""])
def test_another_python_is_named(version):
    with pytest.raises(InputError, match=rf"Python '{re.escape(version)}': expected"):
        wheelhouse.require_supported(version, PROJECT["requires-python"])


def test_markers_are_asked_of_the_python_wanted():
    lines = (
        'a==1\n\nb==2; python_version < "3.12"\nc==3; python_version >= "3.13"\nd-e==4.0.post1\n'
    )
    assert wheelhouse.list_pins(lines, "3.11") == ["a==1", "b==2", "d-e==4.0.post1"]
    assert wheelhouse.list_pins(lines, "3.13") == ["a==1", "c==3", "d-e==4.0.post1"]


def test_every_constraint_is_one_version():
    pins = wheelhouse.list_pins((ROOT / "constraints.txt").read_text(), "3.12")
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    backend = [pin for pin in pins if pin.startswith("setuptools==")]
    assert len(backend) == 1  # torch asks for it from Python 3.12 on


def test_make_knows_the_target():
    shown = subprocess.run(
        ["make", "-n", "wheelhouse", "PYTHON_VERSION=3.12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    assert "diffusevae wheelhouse 3.12\n" in shown.stdout


def test_sources_become_a_wheel_in_their_place(tmp_path, monkeypatch):
    pack_sources(tmp_path)
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # pip reads this one the wrong way round
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheelhouse.build_wheels(tmp_path, "3.12")
    assert [path.name for path in tmp_path.iterdir()] == ["plain-1-py3-none-any.whl"]


def pack_sources(folder) -> None:
    """Write plain-1.tar.gz, as a registry has packages without wheels."""
    text = b'[project]\nname = "plain"\nversion = "1"\n[tool.setuptools]\npy-modules = []\n'
    with tarfile.open(folder / "plain-1.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("plain-1/pyproject.toml")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
