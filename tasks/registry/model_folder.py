"""The folder of a registered model: what goes into it beside weights, and how it is read back."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.registered.model_files import HASHES, find_changed, find_damage, hash_files
from diffusevae.registered.own_code import PACKAGE, WRITTEN_BY_MLFLOW, is_code
from diffusevae.tracking.mlflow_store import connect

CODE = Path("src/diffusevae")
LOADER = CODE / "registered" / "loader.py"
CONSTRAINTS = Path("constraints.txt")
# What the model's code imports; MLflow adds itself.
REQUIREMENTS = ("numpy", "ruamel.yaml", "safetensors", "torch")
OWN_HASHES = "mlflow_files_sha256"  # a version's tag: of the files beside those of its HASHES
MEND = "run its experiment again, which registers it anew, or delete the version"


def copy_code(folder: Path) -> Path:
    """Copy the package's code, which a registered model brings along, into a folder; return it."""

    def left_out(_: str, names: list[str]) -> list[str]:
        return [name for name in names if not is_code(Path(name))]

    return Path(shutil.copytree(CODE, folder / CODE.name, ignore=left_out))


def copy_loader(folder: Path, model: str) -> Path:
    """Copy what MLflow runs to load a model into a folder, under the name that says which."""
    return shutil.copyfile(LOADER, folder / f"{model}.py")


def add_hashes(artifacts: Mapping[str, Path], code: Path, loader: Path) -> dict[str, Path]:
    """Return a model's artifacts with one more, which tells damage of them and of its code."""
    places = {f"{HASHES.parent}/{path.name}": path for path in artifacts.values()}
    places |= {
        f"{PACKAGE}/{path.relative_to(code).as_posix()}": path
        for path in code.rglob("*")
        if path.is_file()
    }
    places[loader.name] = loader
    written = code.with_name(HASHES.name)
    written.write_text(hash_files(places), encoding="utf-8")
    return {**artifacts, "hashes": written}


def pin(requirements: Sequence[str]) -> list[str]:
    """Return the lines of constraints.txt for these packages. Raises EnvironmentFailure."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = {re.split("[=<>!~;[ ]", line, maxsplit=1)[0].lower(): line.strip() for line in lines}
    if missing := [name for name in requirements if name not in pins]:
        raise EnvironmentFailure(
            f"{CONSTRAINTS}: names no version of {', '.join(missing)}; restore the file"
        )
    return [pins[name] for name in requirements]


def hash_own_files(model_id: str) -> dict[str, str]:
    """Return the tag of a logged model that tells damage of HASHES and of what MLflow wrote."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as folder:
        model = Path(download_artifacts(f"models:/{model_id}", dst_path=folder))
        known = json.loads((model / HASHES).read_text(encoding="utf-8"))
        places = {path.relative_to(model).as_posix(): path for path in model.rglob("*")}
        own = {
            place: path
            for place, path in places.items()
            if path.is_file() and place not in known and is_kept(Path(place))
        }
        return {OWN_HASHES: hash_files(own)}


def is_kept(place: Path) -> bool:
    """Return whether a file of a model's folder stays as it was registered: loading adds some."""
    return place.name != WRITTEN_BY_MLFLOW and is_code(place)


def fetch_model(name: str, version: str, folder: Path | None = None) -> Path:
    """Fetch a version from the registry into a folder; return where it lies.

    Without a folder that is where it is stored, where this machine has it. Raises InputError,
    naming the version and the file, for one that is missing or not what was registered; versions
    of before there were hashes have their tags only.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    what, into = f"{name} version {version}", str(folder) if folder else None
    try:
        fetched = Path(download_artifacts(f"models:/{name}/{version}", dst_path=into))
        tags = connect().get_model_version(name, version).tags
    except (MlflowException, OSError) as error:
        raise InputError(
            f"{what}: its files cannot be had ({type(error).__name__}); {MEND}"
        ) from error
    if damage := find_damage_of_version(fetched, tags):
        raise InputError(f"{what}: {damage}; {MEND}")
    return fetched


def find_damage_of_version(model: Path, tags: Mapping[str, str]) -> str | None:
    """Return what is wrong with a file of a version in a folder; None where all are sound."""
    if damage := find_changed(model, tags.get(OWN_HASHES, "{}"), OWN_HASHES):
        return damage
    return find_damage(model) if any((model / PACKAGE).rglob("model_files.py")) else None
