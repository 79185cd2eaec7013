"""Data sets: read from idx files, resized and split into uint8 tensors to index on a device."""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffusevae.checkpoint import load_tensors
from diffusevae.errors import InputError
from diffusevae.params import Count, PositiveCount, Range

# MNIST and Fashion-MNIST agree in all of this.
NUM_TRAIN = 60_000
NUM_TEST = 10_000
RAW_SIZE = 28
NUM_CLASSES = 10


@dataclass(frozen=True)
class DatasetConfig:
    """What is made of a downloaded data set. None for a number of images means all there are."""

    source: Literal["mnist", "fashion_mnist"]
    image_size: Annotated[int, Range(4, 256)]
    interpolation: Literal["bilinear", "bicubic", "nearest"]
    antialias: bool
    validation_images: PositiveCount  # taken from the official training set
    train_images: PositiveCount | None
    test_images: PositiveCount | None
    seed: Count  # of the division into train and validation

    def __post_init__(self) -> None:
        if self.antialias and self.interpolation == "nearest":
            raise ValueError("antialias: true goes with bilinear or bicubic interpolation only")
        wanted = self.validation_images + (self.train_images or 1)
        if wanted > NUM_TRAIN:
            raise ValueError(f"validation_images and train_images need {wanted} images; the "
                             f"official training set has {NUM_TRAIN}")
        if (self.test_images or 0) > NUM_TEST:
            raise ValueError(f"test_images is {self.test_images}; the official test set has "
                             f"{NUM_TEST}")


@dataclass(frozen=True)
class Split:
    """Images uint8 N x C x H x W, labels int64 N, indices int64 N (in the official set)."""

    images: Tensor
    labels: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "Split":
        """Return the split on a device."""
        return Split(*(t.to(device) for t in (self.images, self.labels, self.indices)))


def to_unit(images: Tensor) -> Tensor:
    """Return uint8 images of any shape as float32 in [0,1], the library's one value range."""
    return images.to(torch.float32) / 255


def load_split(path: Path) -> Split:
    """Return a prepared split. Raises InputError if the file is missing, damaged or no split."""
    tensors = load_tensors(path)
    kinds = {name: (tensor.dtype, tensor.dim()) for name, tensor in tensors.items()}
    expected = {"images": (torch.uint8, 4), "labels": (torch.int64, 1),
                "indices": (torch.int64, 1)}  # fmt: skip
    if kinds != expected or len({len(tensor) for tensor in tensors.values()}) != 1:
        found = ", ".join(f"{name} {list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
                          for name, tensor in sorted(tensors.items()))
        raise InputError(f"{path}: not a prepared split (found {found or 'nothing'}); make it "
                         "again with the stage prepare")
    return Split(**tensors)


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


def read_official(raw_folder: Path, prefix: Literal["train", "t10k"]) -> tuple[Tensor, Tensor]:
    """Return images (uint8 N x 1 x 28 x 28) and labels (int64 N) of an official set.

    Raises InputError if the number or size of the images, or a label, is not the data set's.
    """
    num_images = {"train": NUM_TRAIN, "t10k": NUM_TEST}[prefix]
    image_path = raw_folder / f"{prefix}-images-idx3-ubyte"
    label_path = raw_folder / f"{prefix}-labels-idx1-ubyte"
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    for path, array, shape in ((image_path, images, (num_images, RAW_SIZE, RAW_SIZE)),
                               (label_path, labels, (num_images,))):  # fmt: skip
        if array.shape != shape:
            raise _bad_raw(path, f"shape {list(array.shape)}, expected {list(shape)}")
    if labels.max() >= NUM_CLASSES:
        raise _bad_raw(label_path, f"label {labels.max()}, expected 0 to {NUM_CLASSES - 1}")
    return torch.tensor(images).unsqueeze(1), torch.tensor(labels).to(torch.int64)


def resize(images: Tensor, size: int, interpolation: str, antialias: bool) -> Tensor:
    """Return uint8 images N x C x H x W as uint8 N x C x size x size, rounded to the nearest."""
    options = {} if interpolation == "nearest" else {"antialias": antialias, "align_corners": False}
    resized = [
        F.interpolate(chunk.to(torch.float32), (size, size), mode=interpolation, **options)
        # bicubic interpolation overshoots
        .round().clamp(0, 255).to(torch.uint8)
        for chunk in images.split(8192)  # in float, 8192 images of 32 x 32 are 34 MB
    ]  # fmt: skip
    return torch.cat(resized)


def divide(config: DatasetConfig, num_images: int = NUM_TRAIN) -> tuple[Tensor, Tensor]:
    """Return the indices (int64, ascending) of train and validation in the official training set.

    Both are drawn without replacement by `config.seed`. The validation set does not depend on
    `train_images`, and a smaller training set is part of every larger one.
    """
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(config.seed))
    validation, rest = order[: config.validation_images], order[config.validation_images :]
    return rest[: config.train_images].sort().values, validation.sort().values


def prepare(
    config: DatasetConfig, raw_folder: Path, say: Callable[[str], None] = lambda text: None
) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of the splits train, validation and test, with the names of a Split's.

    The test split is the start of the official test set, in its order. Raises InputError if a
    file in `raw_folder` (see `read_official`) is wrong.
    """
    train, validation = divide(config)
    test = torch.arange(config.test_images or NUM_TEST)
    prepared = {}
    for prefix, splits in (("train", {"train": train, "validation": validation}),
                           ("t10k", {"test": test})):  # fmt: skip
        images, labels = read_official(raw_folder, prefix)
        for name, indices in splits.items():
            resized = resize(images[indices], config.image_size, config.interpolation,
                             config.antialias)
            prepared[name] = {"images": resized, "labels": labels[indices], "indices": indices}
            say(f"{name}: {len(indices)} images {list(resized.shape[1:])}")
    return prepared
