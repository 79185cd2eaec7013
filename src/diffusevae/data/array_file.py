"""Images and labels as NumPy arrays: one .npz file in a folder, of which nothing is unpickled."""

import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np
import torch

from diffusevae.core.errors import InputError
from diffusevae.data.image_folder import OwnImages, drop_colours
from diffusevae.data.resizing import resize

SUFFIX = ".npz"
IMAGES, LABELS = "images", "labels"
EXPECTED = "expected N x H x W, N x H x W x 3 or N x 3 x H x W"
AT_ONCE = 2**24  # pixels that are resized together
Header = tuple[tuple[int, ...], np.dtype]
READ_HEADER: Mapping[tuple[int, int], Callable[[IO[bytes]], tuple]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# What zipfile and numpy raise at bytes that are no such file (RuntimeError: a password is wanted,
# or a compression is not known).
DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, SyntaxError, OverflowError,
           RuntimeError, zipfile.BadZipFile, zlib.error)  # fmt: skip


def check_array_file(path: Path) -> None:
    """Raise InputError unless the file has images, and labels or none, as they can be used.

    Only what the arrays say of themselves is read: images are uint8, of 1 or 3 channels, labels N
    whole numbers or texts.
    """
    headers = _read_headers(path)
    if IMAGES not in headers:
        raise InputError(
            f"{path}: has no array {IMAGES} (it has {', '.join(headers)[:80] or 'none'}); write it "
            "with numpy.savez(path, images=..., labels=...)"
        )
    shape, kind = headers[IMAGES]
    if kind != np.uint8:
        raise InputError(f"{path}: {IMAGES} are {kind}, expected uint8 from 0 to 255; convert them")
    if _channels_at(shape) is None or 0 in shape:
        sides = " x ".join(map(str, shape)) or "one number"
        raise InputError(f"{path}: {IMAGES} are {sides}, {EXPECTED}; reshape them")
    if LABELS in headers:
        found, kind = headers[LABELS]
        if kind.kind not in "iuU" or found != shape[:1]:
            sides = " x ".join(map(str, found)) or "one number"
            raise InputError(
                f"{path}: {LABELS} are {kind} {sides}, expected {shape[0]} whole numbers or texts; "
                "convert them, of objects with labels.astype(str)"
            )


def read_array_file(path: Path, size: int, interpolation: str, antialias: bool) -> OwnImages:
    """Return its images at that size (uint8 N x C x size x size), the middle square of each.

    Classes are the labels' values in order, one where there are none. Raises InputError.
    """
    check_array_file(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays[IMAGES]
            labels = arrays[LABELS] if LABELS in arrays else np.full(len(images), "all")
    except DAMAGED as error:
        raise _unreadable(path, error) from error
    channels = _channels_at(images.shape)
    images = images[:, None] if channels == 0 else np.moveaxis(images, channels or 1, 1)
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[:, :, top : top + side, left : left + side]
    step = max(1, AT_ONCE // side**2)
    parts = [
        resize(torch.tensor(square[i : i + step]), size, interpolation, antialias)
        for i in range(0, len(square), step)
    ]
    classes, numbers = np.unique(labels, return_inverse=True)
    return OwnImages(
        drop_colours(torch.cat(parts)),
        torch.from_numpy(numbers.astype(np.int64)),
        tuple(map(str, classes)),
        tuple(f"{IMAGES}[{i}]" for i in range(len(images))),
        None,
        ((width, height),) * len(images),
    )


def _channels_at(shape: tuple[int, ...]) -> int | None:
    """Return the axis of channels, 0 where there is none; None for what is no set of images."""
    if len(shape) == 3:
        return 0
    if len(shape) != 4:
        return None
    return next((axis for axis in (3, 1) if shape[axis] in (1, 3)), None)


def _read_headers(path: Path) -> dict[str, Header]:
    """Return shape and kind of each array, without reading any."""
    headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    shape, _, kind = READ_HEADER[np.lib.format.read_magic(file)](file)
                if math.prod(shape) * kind.itemsize > member.file_size and not kind.hasobject:
                    raise ValueError(f"{member.filename} has less than {shape} of {kind}")
                headers[member.filename.removesuffix(".npy")] = shape, kind
    except DAMAGED as error:
        raise _unreadable(path, error) from error
    return headers


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:80]
    return InputError(f"{path}: is no sound {SUFFIX} file ({reason}); write it again")
