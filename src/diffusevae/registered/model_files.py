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
    """Return the content of HASHES for files by their places in a model's folder."""
    return json.dumps({place: _hash(path) for place, path in sorted(files.items())}, indent=1)


def find_damage(model: Path) -> str | None:
    """Return what is wrong with the first file in a model's folder that is missing or not what was
    registered; None where all are sound.
    """
    try:
        hashes = json.loads((model / HASHES).read_bytes())
        files = [(str(place), model / place, digest) for place, digest in hashes.items()]
    except FileNotFoundError:
        return f"has no {HASHES.name}"
    except (AttributeError, TypeError, ValueError):
        return f"{HASHES.name} is not the file that was registered"
    for place, path, digest in files:
        name = place.removeprefix("artifacts/")
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
