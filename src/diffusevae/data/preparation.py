"""From a downloaded data set, or a folder of images, to the splits that models are trained on."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from diffusevae.data.cifar10 import NUM_CLASSES, read_cifar10, read_cifar10_test
from diffusevae.data.dataset import DatasetConfig
from diffusevae.data.division import describe_missing, divide, draw_test
from diffusevae.data.idx import read_idx_set
from diffusevae.data.image_folder import OwnImages
from diffusevae.data.own_source import read_source
from diffusevae.data.resizing import resize

LabelledImages = tuple[Tensor, Tensor]  # uint8 N x C x H x W, labels int64 N


@dataclass(frozen=True, eq=False)
class LabelledSource:
    """Images uint8 N x C x H x W, labels int64 N, which of them are whose split's (int64 each).

    classes: their names; files: the images' names, where they have some.
    """

    images: Tensor
    labels: Tensor
    splits: dict[str, Tensor]
    classes: Sequence[str]
    files: Sequence[str] = ()


def read_official(source: str, raw_folder: Path) -> tuple[LabelledImages, LabelledImages]:
    """Return an official training set and its test set. Raises InputError for a wrong file."""
    if source == "cifar10":
        return read_cifar10(raw_folder, "train"), read_cifar10(raw_folder, "test")
    return read_idx_set(raw_folder, "train"), read_idx_set(raw_folder, "t10k")


def prepare(
    config: DatasetConfig, raw_folder: Path, say: Callable[[str], None] = lambda text: None
) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of the splits train, validation and test, with the names of a Split's.

    Each in random order (`divide`). Raises InputError if a file in `raw_folder` is wrong.
    """
    prepared: dict[str, dict[str, Tensor]] = {}
    for source in _read(config, raw_folder, say):
        prepared |= cut(config, source, say)
    return prepared


def cut(
    config: DatasetConfig, source: LabelledSource, say: Callable[[str], None]
) -> dict[str, dict[str, Tensor]]:
    """Return the splits of one source, as `prepare` does; `say` is told of their sizes and of what
    is doubtful in them.
    """
    prepared = {}
    for name, indices in source.splits.items():
        resized = resize(
            source.images[indices], config.image_size, config.interpolation, config.antialias
        )
        prepared[name] = {"images": resized, "labels": source.labels[indices], "indices": indices}
        say(f"{name}: {len(indices)} images {list(resized.shape[1:])}")
    shared = describe_shared(prepared, source.files) if source.files else None
    for warning in (describe_missing(source.labels, source.splits, source.classes), shared):
        if warning:
            say(warning)
    return prepared


def describe_shared(prepared: dict[str, dict[str, Tensor]], files: Sequence[str]) -> str | None:
    """Return in one line how many images are in more than one split; None where none is.

    Compared are the prepared pixels: what a model would see.
    """
    first: dict[bytes, tuple[str, int]] = {}  # by pixels: the split, and the index in the source
    shared, example = 0, ""
    for split, tensors in prepared.items():
        for image, index in zip(tensors["images"], tensors["indices"].tolist(), strict=True):
            pixels = hashlib.sha256(image.numpy().tobytes()).digest()
            other, twin = first.setdefault(pixels, (split, index))
            if other != split:
                shared += 1
                example = example or f"{files[index]} in {split} is {files[twin]} in {other}"
    if not shared:
        return None
    return (
        f"warning: images that are, pixel by pixel, in another split too: {shared} ({example})"
        "; what is measured on them can be learned by heart: remove the copies"
    )


def _read(
    config: DatasetConfig, raw_folder: Path, say: Callable[[str], None]
) -> list[LabelledSource]:
    digits = [str(label) for label in range(NUM_CLASSES)]  # of MNIST and Fashion-MNIST as well
    if config.official:
        train, test = read_official(config.source, raw_folder)
        return [
            LabelledSource(*train, divide(config, train[1]), digits),
            LabelledSource(*test, {"test": draw_test(config, test[1])}, digits),
        ]
    if config.source == "cifar10_test":
        images, labels = read_cifar10_test(raw_folder)
        return [LabelledSource(images, labels, divide(config, labels), digits)]
    own = read_source(raw_folder, config.image_size, config.interpolation, config.antialias, say)
    own.require_sound(raw_folder)
    for note in own.notes:
        say(note)
    return [divide_own(config, own)]


def divide_own(config: DatasetConfig, own: OwnImages) -> LabelledSource:
    """Return a person's own images with their splits. Raises InputError where they are too few."""
    splits = divide(config, own.labels, own.parts)
    return LabelledSource(own.images, own.labels, splits, own.classes, own.files)
