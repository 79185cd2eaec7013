"""The losses of a validation set, taken in parts that fit into memory."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from diffusevae.data.dataset import AT_ONCE


@torch.inference_mode()
def validate_in_parts(
    count: int,
    losses: Callable[[slice, int], Mapping[str, Tensor]],
    weight: Callable[[int], float] = float,
    total: float | None = None,
    at_once: int = AT_ONCE,
) -> dict[str, float]:
    """Return each loss as the sum of its parts' values, weighted by weight(items), over `total`.

    Without a total that is `count`, so that a part's value is taken as the mean over its items.
    `losses` gets each part of `at_once` of the `count` items with its number, from 0.
    """
    totals: dict[str, float] = {}
    for number, start in enumerate(range(0, count, at_once)):
        part = slice(start, min(start + at_once, count))
        for name, loss in losses(part, number).items():
            value = float(loss) * weight(part.stop - start)
            totals[name] = totals.get(name, 0.0) + value
    return {name: value / (count if total is None else total) for name, value in totals.items()}
