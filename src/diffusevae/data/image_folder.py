"""Read a folder of the user's own images: of any sizes, a sub-folder for each class, or none.

docs/own_images.md says what is read, skipped and refused.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.data.image_file import FRAMES, LARGE, SHRUNK, SUFFIXES, TRANSPARENT, read_square
from diffusevae.data.resizing import resize

# What programs leave in folders, beside names that begin with a dot (.dvcignore names them too).
LEFT_BEHIND = frozenset(
    {
        "__MACOSX",
        "@eaDir",
        "#recycle",
        "$RECYCLE.BIN",
        "lost+found",
        "Thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
    }
)
HIDDEN = "hidden"
SHOWN = 5  # faults that a line names
NOTES = {
    FRAMES: "with several frames or pages, of which the first is taken",
    TRANSPARENT: "with transparent parts, which are put on white",
    SHRUNK: f"of more than {LARGE:,} pixels, which are shrunk before they are resized",
}


@dataclass(frozen=True)
class Found:
    """What lies in a folder: the images, sorted by path, and what else, as one line (or none)."""

    paths: tuple[Path, ...]
    skipped: str


def read_image_folder(
    folder: Path,
    size: int,
    interpolation: str,
    antialias: bool,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Tensor, Tensor, list[str], list[str]]:
    """Return images (uint8 N x C x size x size), labels (int64 N), names of classes and images.

    They are sorted by path. The middle square of each image is taken. C is 1 where no image has
    colours, else 3. Labels count the sub-folders by name from 0; without sub-folders all are 0.
    Raises InputError that names every file that cannot be used.
    """
    found = find_images(folder)
    if found.skipped:
        say(found.skipped)
    names = [name_of(path, folder) for path in found.paths]
    classes = sorted({name.partition("/")[0] for name in names if "/" in name}) or ["all"]
    images, faults, noted = [], [], Counter[str]()
    examples: dict[str, str] = {}
    for path, name in zip(found.paths, names, strict=True):
        try:
            square = read_square(path, size, interpolation)
        except InputError as error:
            faults.append(f"{name} ({error})")
            continue
        images.append(resize(square.pixels[None], size, interpolation, antialias)[0])
        noted.update(square.notes)
        examples = dict.fromkeys(square.notes, name) | examples
    _refuse(folder, faults, f" of {len(names)} images cannot be used")
    for note, count in sorted(noted.items()):
        say(f"images {NOTES[note]}: {count} (such as {examples[note]})")
    stacked = torch.stack(images)
    if (stacked == stacked[:, :1]).all():
        stacked = stacked[:, :1].contiguous()
    labels = [classes.index(name.partition("/")[0]) if "/" in name else 0 for name in names]
    return stacked, torch.tensor(labels), classes, names


def find_images(folder: Path) -> Found:
    """Return the images in a folder and below, by their names alone.

    Raises InputError where there is none, where they lie both in sub-folders and beside them, and
    for what DVC cannot keep: links to folders, links to nothing, names that are not UTF-8.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make it and put your images there")
    paths, faults = [], []
    skipped: dict[str, list[str]] = {}
    for path in _walk(folder):
        kind = _kind_of(path)
        if kind != HIDDEN and (fault := _find_fault(path)):
            faults.append(f"{name_of(path, folder)} ({fault})")
        elif kind in SUFFIXES and path.is_file():
            paths.append(path)
        elif kind == HIDDEN or not path.is_dir():
            skipped.setdefault(kind, []).append(name_of(path, folder))
    _refuse(folder, faults, " files or folders cannot be used")
    if not paths:
        raise InputError(f"{folder}: holds no image ({', '.join(SUFFIXES)}); put yours there")
    beside = [path for path in paths if path.parent == folder]
    if beside and len(beside) < len(paths):
        raise InputError(
            f"{folder}: images lie both in sub-folders and beside them "
            f"({name_of(min(beside), folder)}); move them all into sub-folders (one "
            "for each class), or none"
        )
    return Found(tuple(sorted(paths)), _describe(folder, skipped))


def name_of(path: Path, folder: Path) -> str:
    """Return a path in the folder as text that can be printed in a line, whatever its bytes."""
    text = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _walk(folder: Path) -> Iterable[Path]:
    """Yield files and folders below a folder; what lies in hidden folders is left out."""

    def stop(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=stop):
        yield from (Path(parent, name) for name in (*folders, *files))
        folders[:] = [name for name in folders if _kind_of(Path(name)) != HIDDEN]


def _kind_of(path: Path) -> str:
    if path.name.startswith(".") or path.name in LEFT_BEHIND:
        return HIDDEN
    return path.suffix.lower() or "without suffix"


def _find_fault(path: Path) -> str | None:
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8: rename it"
    if path.is_symlink() and path.is_dir():
        return "a link to a folder, in which DVC sees no change: put the folder itself there"
    return None if path.exists() else "a link to nothing: remove it"


def _describe(folder: Path, skipped: dict[str, list[str]]) -> str:
    if not skipped:
        return ""
    kinds = ", ".join(
        f"{len(names)} {kind} ({min(names)})" for kind, names in sorted(skipped.items())
    )
    return f"{folder}: skipped what is not read as an image: {kinds}"


def _refuse(folder: Path, faults: Sequence[str], what: str) -> None:
    """Raise InputError if there are faults; the first ones are named."""
    if faults:
        more = f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise InputError(
            f"{folder}: {len(faults)}{what}: {', '.join(faults[:SHOWN])}{more}; mend or remove them"
        )
