"""The outputs of stages held against dvc.lock by their content.

DVC trusts an object of its cache that it has once made read-only, and a file whose time and size
are as they were: it hands out what has rotted since as the result.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path

from tasks.dvc.process import find_cache

OBJECTS = Path("files/md5")  # in DVC's cache
LISTING = ".dir"  # ends the name of an object that lists the files of a folder
CHUNK_BYTES = 1 << 20


def find_damaged(lock: Mapping, targets: Iterable[str]) -> list[str]:
    """Return the targets of which an output is there, but not what dvc.lock (its content) says."""
    stages = lock.get("stages", {})
    return [
        target
        for target in targets
        if any(
            Path(out["path"]).exists() and hash_output(Path(out["path"])) != out["md5"]
            for out in stages.get(target, {}).get("outs", [])
        )
    ]


def discard(lock: Mapping, target: str) -> list[str]:
    """Remove a target's outputs, and what DVC's cache holds of them under a wrong name.

    Returns the names of the cache's objects that were wrong. DVC then takes the outputs from where
    they are whole, or makes them anew.
    """
    objects = find_cache() / OBJECTS
    wrong = list(dict.fromkeys(find_wrong_objects(lock, target, objects)))
    for name in wrong:
        (objects / name[:2] / name[2:]).unlink()
    for out in lock["stages"][target]["outs"]:
        path = Path(out["path"])
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return wrong


def find_wrong_objects(lock: Mapping, target: str, objects: Path) -> Iterator[str]:
    """Yield the names of the cache's objects of a target whose content has another hash."""
    for out in lock["stages"][target]["outs"]:
        for name in list_objects(objects, out["md5"]):
            path = objects / name[:2] / name[2:]
            if path.exists() and _md5(path) != name.removesuffix(LISTING):
                yield name


def hash_output(path: Path) -> str:
    """Return the hash by which DVC knows a file, or a folder: that of the list of its files."""
    if not path.is_dir():
        return _md5(path)
    files = [
        Path(folder) / name
        for folder, _, names in os.walk(path, followlinks=True)
        for name in names
    ]
    listed = [{"md5": _md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    text = json.dumps(sorted(listed, key=itemgetter("relpath")), sort_keys=True).encode()
    return f"{hashlib.md5(text, usedforsecurity=False).hexdigest()}{LISTING}"


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def list_objects(objects: Path, name: str) -> Iterator[str]:
    """Yield the name of an output's object, and those of a folder's files."""
    yield name
    path = objects / name[:2] / name[2:]
    if name.endswith(LISTING) and path.exists() and _md5(path) == name.removesuffix(LISTING):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            yield entry["md5"]
