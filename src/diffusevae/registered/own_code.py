"""Whether the code that is imported is that which a registered model brings with it.

A process imports the package once: a second version loaded there would run the first one's code.
This file is run before anything else of the package, so it imports no more of it than its place.
"""

import hashlib
import importlib
import sys
from pathlib import Path

PACKAGE = Path("code/diffusevae")  # in a model's folder, as MLflow lays it out
DATA = (".npz", ".md")  # the spectra and where they are from: no registered model reads them
WRITTEN_BY_MLFLOW = "registered_model_meta"


def is_code(path: Path) -> bool:
    """Return whether a path in the package is code: no cache, nothing hidden, no measured data."""
    hidden = any(part == "__pycache__" or part.startswith(".") for part in path.parts)
    return not hidden and path.suffix not in DATA


def hash_code(package: Path) -> str:
    """Return the SHA-256 of the names and contents of a package's code, as hex."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        place = path.relative_to(package)
        if path.is_file() and is_code(place):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{place.as_posix()} {content}\n".encode())
    return digest.hexdigest()


def running_package() -> Path:
    """Return the folder of the package that this process imports."""
    file = importlib.import_module("diffusevae").__file__
    assert file is not None  # as it has an __init__.py
    return Path(file).parent


def forget_package() -> None:
    """Let this process import the package again, as the next model that MLflow loads brings it.

    For one that does nothing more than serve that model: what is imported already stays as it is.
    """
    for name in list(sys.modules):
        if name.partition(".")[0] == "diffusevae":
            del sys.modules[name]


def require_own_code(model: Path) -> None:
    """Raise ImportError unless the imported package is that in a model's folder, byte by byte."""
    running = running_package()
    if hash_code(running) != hash_code(model / PACKAGE):
        raise ImportError(
            f"{_name(model)} brings its own code, but this process runs that of "
            f"{_name(running.parents[1])}: load each in a process of its own, "
            "or serve it with `mlflow models serve`"
        )


def _name(folder: Path) -> str:
    """Return which version a model's folder holds; the folder where MLflow did not write that."""
    written = folder / WRITTEN_BY_MLFLOW
    if not written.is_file():
        return str(folder)
    pairs = (line.split(": ", 1) for line in written.read_text(encoding="utf-8").splitlines())
    found = {key: value.strip("'\"") for key, value in pairs}
    return f"{found['model_name']} version {found['model_version']}"
