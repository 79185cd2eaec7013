"""Packs what a machine without a network needs to install this checkout: wheels in one folder.

They are constraints.txt's for the Python named, else for the one that runs, with what those need
and the build backend. That Python need not be here. What is published as sources alone becomes a
wheel here; what is there already is not fetched again. The checkout itself comes as a clone.
"""

import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from diffusevae.core.errors import EnvironmentFailure, InputError

CONSTRAINTS = Path("constraints.txt")
PROJECT = Path("pyproject.toml")
DIST = Path("dist")
GLIBC = 28  # 2.28, the oldest that torch's own wheels run with
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def pack(version: str) -> Path:
    """Fill dist/wheelhouse-VERSION and return it.

    Raises InputError for a Python that the project does not support, EnvironmentFailure where pip
    fails or what is published as sources alone gives a wheel of another Python.
    """
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    require_supported(version, project["project"]["requires-python"])
    folder = DIST / f"wheelhouse-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "requirements.txt"
    pins = list_pins(CONSTRAINTS.read_text(encoding="utf-8"), version)
    wanted.write_text("\n".join([*pins, *project["build-system"]["requires"]]) + "\n")
    target = list_target(version, platform.machine())
    here = ["--dest", str(folder), "--find-links", str(folder), "--requirement", str(wanted)]
    _run_pip(["download", "--no-deps", *target, *here])
    build_wheels(folder, version)
    # What the pins need and constraints.txt does not name: CUDA's libraries, as torch pins them.
    _run_pip(["download", "--only-binary=:all:", *target, *here])
    return folder


def require_supported(version: str, supported: str) -> None:
    """Raise InputError where a Python is none of `supported`, pyproject.toml's requires-python."""
    if not re.fullmatch(r"3\.\d{1,2}", version) or version not in SpecifierSet(supported):
        raise InputError(f"Python {version!r}: expected one of Python {supported}")


def list_pins(constraints: str, version: str) -> list[str]:
    """Return the lines NAME==VERSION that hold for a Python, without their markers.

    pip itself would ask the Python that runs.
    """
    environment = {"python_version": version, "python_full_version": f"{version}.0"}
    pins = [Requirement(line) for line in constraints.splitlines() if line]
    return [
        f"{pin.name}{pin.specifier}"
        for pin in pins
        if pin.marker is None or pin.marker.evaluate(environment)
    ]


def list_target(version: str, machine: str) -> list[str]:
    """Return pip's options for wheels of a Python on Linux, on an architecture such as x86_64."""
    tags = [f"manylinux_2_{minor}" for minor in range(GLIBC, 4, -1)]
    tags += ["manylinux2014", "manylinux2010", "manylinux1"]
    platforms = [option for tag in tags for option in ("--platform", f"{tag}_{machine}")]
    return ["--python-version", version, "--implementation", "cp", *platforms]


def build_wheels(folder: Path, version: str) -> None:
    """Make a wheel of each package that came as sources, in their place.

    Raises EnvironmentFailure where pip fails or the wheel is for the Python that runs, and that is
    not the one wanted.
    """
    for sources in [*folder.glob("*.tar.gz"), *folder.glob("*.zip")]:
        made = folder / "made"
        _run_pip(["wheel", "--no-deps", "--wheel-dir", str(made), str(sources)])
        for wheel in made.glob("*.whl"):
            if version != RUNNING and not wheel.name.endswith("-none-any.whl"):
                raise EnvironmentFailure(
                    f"{sources.name}: has no wheel for Python {version}, and one made here is for "
                    f"{RUNNING}; run this in a checkout that is set up with Python {version}"
                )
            print(f"made {wheel.name} of its sources, for no wheel of it is published")
            wheel.replace(folder / wheel.name)
        made.rmdir()
        sources.unlink()


def _run_pip(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*command, *arguments[1:]], stdin=subprocess.DEVNULL).returncode:
        raise EnvironmentFailure("pip: failed as it says above; then the same command goes on")


def pack_and_show(version: str) -> None:
    """Pack for a Python and say how to use it. Raises what `pack` raises."""
    folder = pack(version)
    wheels = list(folder.glob("*.whl"))
    num_bytes = sum(wheel.stat().st_size for wheel in wheels)
    print(
        f"{folder}  {len(wheels)} wheels, {num_bytes / 1e9:.1f} GB; in a clone without a "
        f"network: PIP_NO_INDEX=1 PIP_FIND_LINKS=/path/to/{folder.name} "
        f"make setup PYTHON=python{version}"
    )
