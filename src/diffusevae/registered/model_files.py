"""Whether a registered model's files are those that were registered: each has its SHA-256.

Like diffusevae.registered.own_code, this is run before anything else of the package and imports
nothing of it.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

HASHES = Path("artifacts/hashes.json")  # in a model's folder, as MLflow lays it out


def hash_files(files: Mapping[str, Path]) -> str:
    """Return the SHA-256 of files by their places in a model's folder, as HASHES has them."""
    return json.dumps({place: _hash(path) for place, path in sorted(files.items())}, indent=1)


def find_damage(model: Path) -> str | None:
    """Return what is wrong with the first file in a model's folder that is missing or not what was
    registered; None where all are sound.
    """
    try:
        hashes = (model / HASHES).read_bytes()
    except FileNotFoundError:
        return f"has no {HASHES.name}"
    return find_changed(model, hashes, HASHES.name)


def find_changed(model: Path, hashes: str | bytes, source: str) -> str | None:
    """Return what is wrong with the first file in a model's folder that is missing or not what
    `hash_files` saw, or with its hashes, which are from `source`; None where all are sound.
    """
    try:
        expected = {str(place): str(digest) for place, digest in json.loads(hashes).items()}
    except (AttributeError, ValueError):
        return f"{source} is not the file that was registered"
    for place, digest in expected.items():
        path, name = model / place, place.removeprefix("artifacts/")
        if not path.is_file():
            return f"has no {name}"
        if _hash(path) != digest:
            return f"{name} is not the file that was registered"
    return None


def require_unchanged(model: Path) -> None:
    """Raise ImportError, naming the file, where one in a model's folder is missing or changed."""
    if damage := find_damage(model):
        raise ImportError(
            f"the model is damaged: {damage}; run its experiment again, which registers it anew"
        )


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
