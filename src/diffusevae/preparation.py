"""From a downloaded data set, or a folder of images, to the splits that models are trained on."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from diffusevae.cifar10 import read_cifar10, read_cifar10_test
from diffusevae.data import DatasetConfig
from diffusevae.errors import InputError
from diffusevae.idx import read_idx_set
from diffusevae.image_folder import read_image_folder
from diffusevae.resizing import resize

Images = tuple[Tensor, Tensor]  # uint8 N x C x H x W, labels int64 N


def read_official(source: str, raw_folder: Path) -> tuple[Images, Images]:
    """Return an official training set and its test set. Raises InputError for a wrong file."""
    if source == "cifar10":
        return read_cifar10(raw_folder, "train"), read_cifar10(raw_folder, "test")
    return read_idx_set(raw_folder, "train"), read_idx_set(raw_folder, "t10k")


def divide(config: DatasetConfig, num_images: int) -> dict[str, Tensor]:
    """Return the indices (int64, ascending) of train and validation among `num_images`.

    They are drawn without replacement by `config.seed`; so is the test split, where the source has
    no official one. Validation and test do not depend on `train_images`, and a smaller training set
    is part of every larger one. Raises InputError if there are too few images.
    """
    num_test = 0 if config.official else config.test_images
    if num_images < config.num_needed:
        raise InputError(f"{config.source}: {num_images} images, but validation_images, "
                         f"test_images and train_images ask for {config.num_needed}; ask for "
                         "fewer, or add images")  # fmt: skip
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(config.seed))
    validation, rest = order[: config.validation_images], order[config.validation_images :]
    rest, test = rest[: len(rest) - num_test], rest[len(rest) - num_test :]
    splits = {"train": rest[: config.train_images], "validation": validation}
    if not config.official:
        splits["test"] = test
    return {name: indices.sort().values for name, indices in splits.items()}


def prepare(
    config: DatasetConfig, raw_folder: Path, say: Callable[[str], None] = lambda text: None
) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of the splits train, validation and test, with the names of a Split's.

    An official test set is taken from its start, in its order. Raises InputError if a file in
    `raw_folder` is wrong.
    """
    prepared = {}
    for images, labels, splits in _read(config, raw_folder):
        for name, indices in splits.items():
            resized = resize(images[indices], config.image_size, config.interpolation,
                             config.antialias)
            prepared[name] = {"images": resized, "labels": labels[indices], "indices": indices}
            say(f"{name}: {len(indices)} images {list(resized.shape[1:])}")
    return prepared


def _read(config: DatasetConfig, raw_folder: Path) -> list[tuple[Tensor, Tensor, dict]]:
    """Return (images, labels, indices of each split that is taken from them)."""
    if config.official:
        train, test = read_official(config.source, raw_folder)
        chosen = torch.arange(config.num_test)
        return [(*train, divide(config, len(train[0]))), (*test, {"test": chosen})]
    if config.source == "cifar10_test":
        images, labels = read_cifar10_test(raw_folder)
    else:
        images, labels = read_image_folder(raw_folder, config.image_size, config.interpolation,
                                           config.antialias)  # fmt: skip
    return [(images, labels, divide(config, len(images)))]
