"""How a data set is divided: by lot, every class in every split where it has enough images."""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.data.dataset import DatasetConfig

SHOWN = 5  # classes that a line names


def divide(
    config: DatasetConfig, labels: Tensor, parts: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Return the indices (int64) of train and validation among images with these labels (N).

    parts: where the source says whose each image is (train, validation, test), each split is drawn
    from its own; what has none comes from those of train.

    The test split is drawn too, where the source has no official one. A class of one image is in
    train, of two in train and test, of three or more in validation too, as far as a split has room
    for all classes. Within a split the images stand in random order, so that any first n of them
    are a random sample of it. All is drawn by `config.seed`. Validation and test do not depend on
    `train_images`, and a smaller training set is part of every larger one. Raises InputError if
    there are too few images.
    """
    classes = labels.tolist()
    num_test = 0 if config.official else count_test(config, parts)
    pools = _sort_by_part(config, num_test, parts or ["train"] * len(classes))
    rng = torch.Generator().manual_seed(config.seed)
    order = torch.randperm(len(classes), generator=rng).tolist()
    shuffled = torch.randperm(len(classes), generator=rng)
    sizes = Counter(classes)
    for_others = {each: 2 if size > 2 else 1 for each, size in sizes.items()}
    wanted = {
        "test": (num_test, order[::-1], for_others),
        "validation": (config.validation_images, order, dict.fromkeys(sizes, 1)),
    }
    gone: set[int] = set()
    splits = {}
    for name, (count, way, spare) in wanted.items():
        own = pools.get(name)
        pool = own or pools["train"]
        among = [i for i in way if i in pool and i not in gone]
        splits[name] = _take(among, classes, count, dict.fromkeys(sizes, 0) if own else spare)
        gone.update(splits[name])
    left = [i for i in order if i in pools["train"] and i not in gone]
    train = _take(left, classes, config.train_images or len(left), dict.fromkeys(sizes, 0))
    kept = {"train": train, "validation": splits["validation"]}
    if not config.official:
        kept["test"] = splits["test"]
    return {name: _sort(taken, shuffled) for name, taken in kept.items()}


def count_test(config: DatasetConfig, parts: Sequence[str] | None) -> int:
    """Return of how many images the test split is; parts: as for `divide`.

    Raises InputError where all of a split test are asked for, and the source has none.
    """
    found = config.num_test or (parts or ()).count("test")
    if not found:
        raise InputError(
            f"{config.source}: test_images is null, which means all of a folder test; there is "
            "none: give a number"
        )
    return found


def _sort_by_part(
    config: DatasetConfig, num_test: int, parts: Sequence[str]
) -> dict[str, set[int]]:
    """Return the images of each part. Raises InputError where one has fewer than are asked for."""
    pools: dict[str, set[int]] = {}
    for i, part in enumerate(parts):
        pools.setdefault(part, set()).add(i)
    asked = {
        "train": config.train_images or 1,
        "validation": config.validation_images,
        "test": num_test,
    }
    for part in pools.keys() - {"train"}:
        if len(pools[part]) < asked[part]:
            raise InputError(
                f"{config.source}: {len(pools[part])} images of split {part}, but {part}_images "
                f"asks for {asked[part]}; ask for fewer, or add images"
            )
    needed = sum(count for part, count in asked.items() if part == "train" or part not in pools)
    if len(pools["train"]) < needed:
        where = " of split train" if len(pools) > 1 else ""
        raise InputError(
            f"{config.source}: {len(pools['train'])} images{where}, but validation_images, "
            f"test_images and train_images ask for {needed}{' of them' if where else ''}; ask for "
            "fewer, or add images"
        )
    return pools


def draw_test(config: DatasetConfig, labels: Tensor) -> Tensor:
    """Return the indices (int64) of the test split in an official test set with these labels.

    Drawn and in random order as by `divide`.
    """
    rng = torch.Generator().manual_seed(config.seed)
    order, shuffled = (torch.randperm(len(labels), generator=rng) for _ in range(2))
    classes = labels.tolist()
    taken = _take(order.tolist(), classes, count_test(config, None), dict.fromkeys(classes, 0))
    return _sort(taken, shuffled)


def describe_missing(labels: Tensor, splits: dict[str, Tensor], names: Sequence[str]) -> str | None:
    """Return in one line which classes are not in every split; None where all are.

    labels: N, of all images; splits: indices among them; names: of the classes.
    """
    sizes = Counter(labels.tolist())
    held = {split: set(labels[indices].tolist()) for split, indices in splits.items()}
    found = []
    for each, size in sorted(sizes.items()):
        if absent := [split for split in splits if each not in held[split]]:
            found.append(
                f"{names[each]} ({size} image{'s' * (size > 1)}, not in {' and '.join(absent)})"
            )
    if not found:
        return None
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"warning: {len(found)} of {len(sizes)} classes are not in every split: "
        f"{', '.join(found[:SHOWN])}{more}; add images of them, or ask for larger splits"
    )


def _take(
    order: Sequence[int], classes: Sequence[int], count: int, spare: dict[int, int]
) -> list[int]:
    """Return the first `count` of an order of images, or so that no class is missing among them.

    Of each class as many as `spare` says are left, unless `count` cannot be reached so.
    """
    firsts: dict[int, int] = {}
    for i in order:
        firsts.setdefault(classes[i], i)
    left = Counter(classes[i] for i in order)
    taken: dict[int, None] = {}  # a set that keeps its order
    for i in dict.fromkeys([*firsts.values(), *order]):
        if len(taken) == count:
            break
        if left[classes[i]] > spare[classes[i]]:
            left[classes[i]] -= 1
            taken[i] = None
    taken |= dict.fromkeys(_without(order, taken)[: count - len(taken)])
    return list(taken)


def _without(order: Sequence[int], taken: Iterable[int]) -> list[int]:
    gone = set(taken)
    return [i for i in order if i not in gone]


def _sort(taken: Sequence[int], shuffled: Tensor) -> Tensor:
    """Return the indices in the order in which `shuffled`, a permutation, has them."""
    wanted = torch.zeros(len(shuffled), dtype=torch.bool)
    wanted[torch.tensor(taken, dtype=torch.int64)] = True
    return shuffled[wanted[shuffled]]
