"""Read a folder of the user's own images: of any sizes, a sub-folder for each class, or none.

docs/own_images.md says what is read, skipped and refused.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.data.image_file import FRAMES, LARGE, SHRUNK, SUFFIXES, TRANSPARENT, read_square
from diffusevae.data.label_file import (
    PARTS,
    Labelling,
    is_label_file,
    label_images,
    printable,
    refuse,
)
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
NOTES = {
    FRAMES: "with several frames or pages, of which the first is taken",
    TRANSPARENT: "with transparent parts, which are put on white",
    SHRUNK: f"of more than {LARGE:,} pixels, which are shrunk before they are resized",
}


@dataclass(frozen=True)
class Found:
    """What lies in a folder: the images, sorted by path, and what else, as one line (or none).

    names: the images' paths in the folder, as they can be printed; labelling: what they are.
    """

    folder: Path
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    labelling: Labelling
    skipped: str


@dataclass(frozen=True, eq=False)
class OwnImages:
    """Images uint8 N x C x S x S, labels int64 N from 0 on, the names of classes and of images.

    parts: the split of each, where the source says it; sizes: width and height of each before;
    notes: lines on what is peculiar; faults: of the files that cannot be used, and are not among
    the images; total: of how many files.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    files: tuple[str, ...]
    parts: tuple[str, ...] | None
    sizes: tuple[tuple[int, int], ...]
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def require_sound(self, folder: Path) -> None:
        """Raise InputError that names the files that cannot be used, if there are any."""
        total = len(self.files) + len(self.faults)
        refuse(folder, self.faults, f" of {total} images cannot be used")


def read_images(found: Found, size: int, interpolation: str, antialias: bool) -> OwnImages:
    """Return the images found, each one's middle square as size x size; C is 1 where none has
    colours, else 3.
    """
    images, sizes, kept, faults = [], [], [], []
    noted: dict[str, list[str]] = {}
    for number, (path, name) in enumerate(zip(found.paths, found.names, strict=True)):
        try:
            square = read_square(path, size, interpolation)
        except InputError as error:
            faults.append(f"{name} ({error})")
            continue
        images.append(resize(square.pixels[None], size, interpolation, antialias)[0])
        sizes.append(square.size)
        kept.append(number)
        for note in square.notes:
            noted.setdefault(note, []).append(name)
    stacked = torch.stack(images) if images else torch.empty(0, 1, size, size, dtype=torch.uint8)
    labelling = found.labelling
    return OwnImages(
        drop_colours(stacked),
        torch.tensor([labelling.labels[i] for i in kept], dtype=torch.int64),
        labelling.classes,
        tuple(found.names[i] for i in kept),
        labelling.parts and tuple(labelling.parts[i] for i in kept),
        tuple(sizes),
        tuple(
            f"images {NOTES[note]}: {len(names)} (such as {names[0]})"
            for note, names in sorted(noted.items())
        ),
        tuple(faults),
    )


def drop_colours(images: Tensor) -> Tensor:
    """Return N x C x H x W, C being 1 where all channels are equal in all images."""
    alike = images.shape[1] > 1 and (images == images[:, :1]).all()
    return images[:, :1].contiguous() if alike else images


def holds_images(folder: Path) -> bool:
    """Return whether a file in a folder or below has the name of an image."""
    return any(_kind_of(path) in SUFFIXES and path.is_file() for path in _walk(folder))


def find_images(folder: Path) -> Found:
    """Return the images in a folder and below, by their names alone, and their labels.

    Raises InputError where there is none, where they lie both in sub-folders and beside them, for
    labels that do not match (`label_images`), and for what DVC cannot keep: links to folders, links
    to nothing, names that are not UTF-8.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make it and put your images there")
    paths, tables, faults = [], [], []
    skipped: dict[str, list[str]] = {}
    for path in _walk(folder):
        kind = _kind_of(path)
        if kind != HIDDEN and (fault := _find_fault(path)):
            faults.append(f"{name_of(path, folder)} ({fault})")
        elif kind in SUFFIXES and path.is_file():
            paths.append(path)
        elif is_label_file(path) and path.is_file() and _may_label(path, folder):
            tables.append(path)
        elif kind == HIDDEN or not path.is_dir():
            skipped.setdefault(kind, []).append(name_of(path, folder))
    refuse(folder, faults, " files or folders cannot be used")
    if not paths:
        raise InputError(
            f"{folder}: holds no image ({', '.join(SUFFIXES)}) and no .npz file; put yours there"
        )
    paths.sort()
    inside = [path.relative_to(folder).as_posix() for path in paths]
    labelling = label_images(folder, inside, sorted(tables))
    names = tuple(name_of(path, folder) for path in paths)
    return Found(folder, tuple(paths), names, labelling, _describe(folder, skipped))


def _may_label(path: Path, folder: Path) -> bool:
    """Return whether a table lies in the folder itself, or in one named as a split."""
    return path.parent == folder or path.parent.parent == folder and path.parent.name in PARTS


def name_of(path: Path, folder: Path) -> str:
    """Return a path in the folder as text that can be printed in a line, whatever its bytes."""
    return printable(os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace"))


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
