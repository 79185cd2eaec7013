"""Images of a person's own, in whichever way they lie in a folder: files, or arrays of NumPy."""

from collections.abc import Callable
from pathlib import Path

from diffusevae.core.errors import InputError
from diffusevae.data.array_file import SUFFIX, check_array_file, read_array_file
from diffusevae.data.image_folder import Found, OwnImages, find_images, holds_images, read_images


def find_source(folder: Path) -> Found | Path:
    """Return what lies in a folder: its images, or its file of arrays where it has no image.

    Nothing is decoded. Raises InputError for all that is wrong by names, labels and headers.
    """
    arrays = sorted(path for path in folder.glob(f"[!.]*{SUFFIX}") if path.is_file())
    if not arrays or holds_images(folder):
        return find_images(folder)
    if len(arrays) > 1:
        raise InputError(
            f"{folder}: holds {len(arrays)} files of arrays ({arrays[0].name}, {arrays[1].name}); "
            "keep one"
        )
    check_array_file(arrays[0])
    return arrays[0]


def read_source(
    folder: Path,
    size: int,
    interpolation: str,
    antialias: bool,
    say: Callable[[str], None] = lambda text: None,
) -> OwnImages:
    """Return the images of a folder at that size; `say` is told what was skipped, and how it was
    understood. Files that cannot be used are named in the result (`OwnImages.require_sound`).

    Raises InputError as `find_source` does.
    """
    found = find_source(folder)
    if isinstance(found, Path):
        say(f"images and labels are those of {found.name}")
        return read_array_file(found, size, interpolation, antialias)
    for line in (found.skipped, *found.labelling.said):
        if line:
            say(line)
    return read_images(found, size, interpolation, antialias)
