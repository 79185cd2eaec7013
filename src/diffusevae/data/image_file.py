"""Read one image file of the user's own: of any size, kind and depth, as a square of 8 bits.

Pillow decodes. What it would do without saying so is done otherwise here: it drops transparency,
so that hidden colours appear, and of colours of 16 bits the lower eight.
"""

import struct
import sys
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffusevae.core.errors import InputError

if TYPE_CHECKING:  # imported where used: no other stage than prepare needs it
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

# The kinds that are read, by the names under which files come, and Pillow's names of them.
SUFFIXES = (
    ".png",
    ".apng",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".bmp",
    ".gif",
    ".webp",
    ".avif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
)
KINDS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "AVIF", "TIFF", "PPM")

FRAMES, TRANSPARENT, SHRUNK = "frames", "transparent", "shrunk"
# An image of more than LARGE pixels is first shrunk, a band at a time, to at least ROOM times the
# size wanted: resized as it is, one of 9400 x 9400 took 1.5 GB.
LARGE, ROOM, BAND_PIXELS = 2**24, 4, 2**22
DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zlib.error,
)

TO_8_BITS = np.round(np.arange(2**16) / 257).astype(np.uint8)  # 65535 / 255 = 257
# Pillow's names of 16-bit layouts: read under the name of the other byte order, the upper eight
# bits of a channel are those that are really the lower ones. N is the machine's own order.
LOWER = MappingProxyType(
    {
        f"{bands};16{ours}": f"{bands};16{theirs}"
        for bands in ("RGB", "RGBA", "RGBX")
        for ours, theirs in (
            ("L", "B"),
            ("B", "L"),
            ("N", "B" if sys.byteorder == "little" else "L"),
        )
    }
)
GREY_WITH_ALPHA = "LA;16B"
ORIENTATION, BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR = 0x0112, 258, 262, 284  # tags of EXIF and TIFF


@dataclass(frozen=True, eq=False)
class CroppedImage:
    """The middle of an image: uint8 3 x S x S, and what is to be told of it (FRAMES, ...).

    size: width and height of the whole image in its file.
    """

    pixels: Tensor
    notes: frozenset[str]
    size: tuple[int, int]


def read_square(path: Path, size: int, interpolation: str) -> CroppedImage:
    """Return the middle square of an image, turned as its EXIF says, transparent parts on white.

    Of several frames or pages it is the first. It is at least `size` wide, if the image is. Raises
    InputError with the reason alone where the file cannot be used.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd in a file, but can be read
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=KINDS) as image:
                return _read(image, path, size, interpolation)
    except InputError:
        raise
    except Image.UnidentifiedImageError as error:
        raise InputError("no image, whatever its name says") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except DAMAGED as error:
        raise InputError(f"damaged: {' '.join(str(error).split())[:80]}") from error


def _read(image: "ImageFile", path: Path, size: int, interpolation: str) -> CroppedImage:
    from PIL import Image, ImageOps

    notes, whole = set(), image.size
    if getattr(image, "is_animated", False) and image.format != "MPO":  # cameras' JPEGs with more
        notes.add(FRAMES)
    averaged = interpolation != "nearest"
    large = image.width * image.height > LARGE
    if large:
        notes.add(SHRUNK)
    if large and averaged:
        image.draft(None, (ROOM * size, ROOM * size))  # JPEG decodes to a half, quarter or eighth
    layout = _require_depth(image)
    image.load()
    factor = max(1, min(image.size) // (ROOM * size)) if large else 1
    lower = _load_lower(path, layout) if layout and factor == 1 else None
    side = min(image.size) // factor * factor
    left, top = (image.width - side) // 2, (image.height - side) // 2
    rows = max(1, BAND_PIXELS // (side * factor)) * factor
    bands = []
    for start in range(top, top + side, rows):
        box = (left, start, left + side, min(start + rows, top + side))
        band = _to_8_bits(image.crop(box), lower and lower.crop(box), layout)
        if band.has_transparency_data:
            band = band.convert("RGBA")
            if np.asarray(band)[..., 3].min() < 255:
                notes.add(TRANSPARENT)
            band = Image.alpha_composite(Image.new("RGBA", band.size, "white"), band)
        band = band.convert("RGB")
        bands.append(
            np.asarray(band.reduce(factor))
            if averaged
            else np.asarray(band)[factor // 2 :: factor, factor // 2 :: factor].copy()
        )
    square = Image.fromarray(np.concatenate(bands))
    square.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
    pixels = np.array(ImageOps.exif_transpose(square))
    return CroppedImage(torch.from_numpy(pixels).permute(2, 0, 1), frozenset(notes), whole)


def _require_depth(image: "ImageFile") -> str | None:
    """Return Pillow's name of the layout where colours have 16 bits, None where all is plain.

    Raises InputError for pixels whose range is not known, or that Pillow would cut.
    """
    grey = image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM")
    if image.mode in ("I", "F") and not grey:
        raise InputError(
            f"pixels of mode {image.mode}, whose black and white nobody says; save it "
            "with 8 or 16 bits per channel"
        )
    layouts = {
        arguments[0] if isinstance(arguments, tuple) else arguments for *_, arguments in image.tile
    }
    tags = getattr(image, "tag_v2", {})  # of TIFF alone
    bits = max(np.atleast_1d(tags.get(BITS_PER_SAMPLE, 8)).tolist())
    deep = bits > 8 or any(";16" in str(layout) for layout in layouts)
    upright = tags.get(PHOTOMETRIC, 1) == 1  # 0: white is 0, which Pillow does not obey here
    if not deep or image.format == "BMP" or grey and bits in (8, 16) and upright:
        return None
    if len(layouts) == 1 and tags.get(PLANAR, 1) == 1 and layouts <= {GREY_WITH_ALPHA, *LOWER}:
        return layouts.pop()
    raise InputError(
        f"{bits if bits > 8 else 16} bits per channel in a layout that cannot be read "
        "in full; save it with 8"
    )


def _load_lower(path: Path, layout: str) -> "Picture":
    """Return an image whose channels are the lower eight bits of one of 16."""
    from PIL import Image

    # Grey and alpha of 16 bits are four bytes: each as a channel of its own.
    name = "RGBA" if layout == GREY_WITH_ALPHA else LOWER[layout]
    with Image.open(path, formats=KINDS) as image:
        image.tile = [
            tile._replace(args=(name, *tile.args[1:]) if isinstance(tile.args, tuple) else name)
            for tile in image.tile
        ]
        image.load()
        return image


def _to_8_bits(band: "Picture", lower: "Picture | None", layout: str | None) -> "Picture":
    """Return an image of 8 bits per channel, of 16 bits the nearest value."""
    from PIL import Image

    key = band.info.get("transparency")
    if band.mode == "I":  # a PGM of 16 bits: Pillow scales it to 65535
        values = np.asarray(band).astype(np.uint16)
    elif band.mode.startswith("I;16"):
        values = np.asarray(band)
    elif lower is None:
        return band
    elif layout == GREY_WITH_ALPHA:
        parts = np.asarray(lower).astype(np.uint16)  # grey's upper and lower, alpha's upper, lower
        values = (parts[..., ::2] * 256 + parts[..., 1::2])[..., [0, 0, 0, 1]]
    else:
        values = np.asarray(band).astype(np.uint16) * 256 + np.asarray(lower)
    pixels = TO_8_BITS[values]
    if key is not None:
        colours = np.atleast_3d(pixels)
        hidden = (np.atleast_3d(values) == np.array(key)).all(-1, keepdims=True)
        pixels = np.concatenate(
            [
                np.broadcast_to(colours, (*colours.shape[:2], 3)),
                np.where(hidden, 0, 255).astype(np.uint8),
            ],
            -1,
        )
    return Image.fromarray(pixels)
