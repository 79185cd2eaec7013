"""Data sets: how they are described, and the uint8 splits to index on a device."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import Count, PositiveCount, Range
from diffusevae.core.tensor_file import find_config, load_tensors

AT_ONCE = 500  # items that pass a network where nothing is learned, if they are small
# Images of the official training set and of the official test set. Whatever else a source may be
# (cifar10_test, a folder of the user's own) has neither: all splits are then drawn from its images.
OFFICIAL = {
    "mnist": (60_000, 10_000),
    "fashion_mnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000),
}

HANDED = ("mnist",)  # sources whose images mean something else in a mirror


@dataclass(frozen=True)
class DatasetConfig:
    """What is made of a downloaded data set, or of the images in data/raw/<source>.

    None for a number of images means all there are; of test images those of an official test set,
    or of a folder `test`. flips: whether trainings mirror each image left
    to right, every other time at random: right where it then shows the same thing.
    """

    source: str
    image_size: Annotated[int, Range(4, 256)]
    interpolation: Literal["bilinear", "bicubic", "nearest"]
    antialias: bool
    validation_images: PositiveCount
    train_images: PositiveCount | None
    test_images: PositiveCount | None
    seed: Count  # of the division
    flips: bool = False

    def __post_init__(self) -> None:
        if self.flips and self.source in HANDED:
            raise ValueError(
                f"flips: true, but mirrored images of {self.source} are other signs, or none; set "
                "it to false"
            )
        if self.antialias and self.interpolation == "nearest":
            raise ValueError("antialias: true goes with bilinear or bicubic interpolation only")
        if not self.official:
            return
        num_train, num_test = self.official
        needed = self.validation_images + (self.train_images or 1)
        if needed > num_train:
            raise ValueError(
                f"validation_images and train_images need {needed} images; "
                f"the official training set has {num_train}"
            )
        if (self.test_images or 0) > num_test:
            raise ValueError(
                f"test_images is {self.test_images}; the official test set has {num_test}"
            )

    @property
    def official(self) -> tuple[int, int] | None:
        """How many images the official training and test set have; None where there are none."""
        return OFFICIAL.get(self.source)

    @property
    def num_train(self) -> int | None:
        """Images of the train split; None where only the folder can tell."""
        if self.train_images is None and self.official:
            return self.official[0] - self.validation_images
        return self.train_images

    @property
    def num_test(self) -> int | None:
        """Images of the test split; None where only the folder can tell."""
        if self.test_images is None and self.official:
            return self.official[1]
        return self.test_images


@dataclass(frozen=True)
class Split:
    """Images uint8 N x C x H x W, labels int64 N, indices int64 N (in the source).

    flips: whether a training mirrors images at random.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    flips: bool = False

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> "Split":
        """Return its first images, all of them where there are fewer."""
        some = self.images[:count], self.labels[:count], self.indices[:count]
        return Split(*some, self.flips)

    @property
    def shown(self) -> Tensor:
        """What a training is shown of it: the images, and after them mirrored ones if it flips."""
        return add_mirrored(self.images) if self.flips else self.images

    def to(self, device: torch.device | str) -> "Split":
        """Return the split on a device."""
        images, labels, indices = (t.to(device) for t in (self.images, self.labels, self.indices))
        return Split(images, labels, indices, self.flips)


def add_mirrored(images: Tensor) -> Tensor:
    """Return images N x C x H x W, then each of them mirrored left to right: 2N in all."""
    return torch.cat([images, images.flip(-1)])


def count_at_once(shape: Sequence[int]) -> int:
    """Return how many items, C x H x W or C x L, pass a network at once where nothing is learned.

    500, and of items larger than 32 x 32 as many as have the pixels of 500 such: so the memory is
    bounded by a network's width, and by less than a step of its training needs.
    """
    return max(1, min(AT_ONCE, AT_ONCE * 32 * 32 // math.prod(shape[1:])))


def in_batches(items: Tensor, shape: Sequence[int] | None = None) -> tuple[Tensor, ...]:
    """Return N items in batches of `count_at_once`; of codes, `shape` is that of their images."""
    return items.split(count_at_once(items.shape[1:] if shape is None else shape))


def to_unit(images: Tensor) -> Tensor:
    """Return uint8 images of any shape as float32 in [0,1], the library's one value range."""
    return images.to(torch.float32) / 255


def load_split(path: Path) -> Split:
    """Return a prepared split. Raises InputError if the file is missing, damaged or no split."""
    tensors = load_tensors(path)
    kinds = {name: (tensor.dtype, tensor.dim()) for name, tensor in tensors.items()}
    expected = {"images": (torch.uint8, 4), "labels": (torch.int64, 1), "indices": (torch.int64, 1)}
    if kinds != expected or len({len(tensor) for tensor in tensors.values()}) != 1:
        found = ", ".join(
            f"{name} {list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
            for name, tensor in sorted(tensors.items())
        )
        raise InputError(
            f"{path}: not a prepared split (found {found or 'nothing'}); make it "
            "again with the stage prepare"
        )
    return Split(**tensors, flips=find_config(path).get("flips", False))
