"""Read a folder of the user's own images: of any sizes, a sub-folder for each class, or none."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusevae.errors import InputError
from diffusevae.resizing import resize

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
DEEP_MODES = ("I", "F")  # PIL's names of pixels with more than 8 bits begin so


def read_image_folder(
    folder: Path, size: int, interpolation: str, antialias: bool
) -> tuple[Tensor, Tensor]:
    """Return images (uint8 N x C x size x size) and labels (int64 N), sorted by path.

    The middle square of each image is taken. C is 1 where no image has colours, else 3. Labels
    count the sub-folders by name from 0; without sub-folders all are 0. Raises InputError for a
    file that is no image of 8 bits per channel.
    """
    paths = find_images(folder)
    classes = sorted({path.relative_to(folder).parts[0] for path in paths
                      if path.parent != folder})  # fmt: skip
    if classes and any(path.parent == folder for path in paths):
        raise InputError(f"{folder}: images lie both in sub-folders and beside them; move them "
                         "all into sub-folders (one for each class), or none")  # fmt: skip
    images = torch.stack([resize(_read_square(path)[None], size, interpolation, antialias)[0]
                          for path in paths])  # fmt: skip
    if (images == images[:, :1]).all():
        images = images[:, :1].contiguous()
    labels = [classes.index(path.relative_to(folder).parts[0]) if classes else 0
              for path in paths]  # fmt: skip
    return images, torch.tensor(labels)


def find_images(folder: Path) -> list[Path]:
    """Return the files with an image's suffix in a folder and below. Raises InputError."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make it and put your images there")
    found = sorted(path for path in folder.rglob("*")
                   if path.suffix.lower() in SUFFIXES and path.is_file()
                   and not path.name.startswith("."))  # fmt: skip
    if not found:
        raise InputError(f"{folder}: holds no image ({', '.join(SUFFIXES)}); put yours there")
    return found


def _read_square(path: Path) -> Tensor:
    """Return the middle square of an image, uint8 3 x S x S."""
    from PIL import Image, ImageOps  # only here: no other stage needs it

    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if image.mode.startswith(DEEP_MODES):
                raise InputError(f"{path}: more than 8 bits per channel ({image.mode}); save it "
                                 "with 8")  # fmt: skip
            pixels = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError,
            Image.DecompressionBombWarning) as error:  # fmt: skip
        raise InputError(f"{path}: cannot be read as an image ({error}); mend or remove "
                         "it") from error  # fmt: skip
    height, width, _ = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return torch.tensor(pixels[top : top + side, left : left + side]).permute(2, 0, 1)
