"""Read idx files: the format of MNIST and Fashion-MNIST."""

import math
import struct
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diffusevae.core.errors import InputError

# MNIST and Fashion-MNIST agree in all of this.
NUM_IMAGES = {"train": 60_000, "t10k": 10_000}
RAW_SIZE = 28
NUM_CLASSES = 10


def read_idx(path: Path, num_dims: int) -> np.ndarray:
    """Return an idx file of unsigned bytes with `num_dims` dimensions (3 images, 1 labels).

    Raises InputError, before anything is allocated, unless magic number, dimensions and length
    agree exactly.
    """
    try:
        with open(path, "rb") as file:
            num_bytes = path.stat().st_size
            header = file.read(4 * (1 + num_dims))
            shape = _check_idx_header(path, header, num_bytes, num_dims)
            return np.frombuffer(file.read(), np.uint8).reshape(shape)
    except OSError as error:
        raise _bad_raw(path, f"cannot be read ({error.strerror})") from error


def _check_idx_header(path: Path, header: bytes, num_bytes: int, num_dims: int) -> tuple[int, ...]:
    if len(header) < 4 * (1 + num_dims):
        raise _bad_raw(path, f"{num_bytes} bytes, too short for a header")
    magic, *shape = struct.unpack(f">{1 + num_dims}I", header)
    expected_magic = 0x800 + num_dims  # 8 for unsigned bytes, then the number of dimensions
    if magic != expected_magic:
        raise _bad_raw(path, f"magic {magic}, expected {expected_magic}")
    expected_bytes = len(header) + math.prod(shape)
    if 0 in shape or num_bytes != expected_bytes:
        dims = " x ".join(map(str, shape))
        raise _bad_raw(path, f"{num_bytes} bytes, expected {expected_bytes} for {dims} values")
    return tuple(shape)


def _bad_raw(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: {reason}; get it again with the stage download")


def read_idx_set(raw_folder: Path, prefix: Literal["train", "t10k"]) -> tuple[Tensor, Tensor]:
    """Return images (uint8 N x 1 x 28 x 28) and labels (int64 N) of an official set.

    Raises InputError if the number or size of the images, or a label, is not the data set's.
    """
    num_images = NUM_IMAGES[prefix]
    image_path = raw_folder / f"{prefix}-images-idx3-ubyte"
    label_path = raw_folder / f"{prefix}-labels-idx1-ubyte"
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    for path, array, shape in (
        (image_path, images, (num_images, RAW_SIZE, RAW_SIZE)),
        (label_path, labels, (num_images,)),
    ):
        if array.shape != shape:
            raise _bad_raw(path, f"shape {list(array.shape)}, expected {list(shape)}")
    if labels.max() >= NUM_CLASSES:
        raise _bad_raw(label_path, f"label {labels.max()}, expected 0 to {NUM_CLASSES - 1}")
    return torch.tensor(images).unsqueeze(1), torch.tensor(labels).to(torch.int64)
