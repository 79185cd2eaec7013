"""Which pixels of an image are known."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator

BOX_SHARE = 0.375  # of the height and of the width


def know_left(height: int, width: int) -> Tensor:
    """Return 1 in the left half, 0 in the right: H x W, as every function of MASKS."""
    return (torch.arange(width) < width // 2).float().expand(height, width)


def know_top(height: int, width: int) -> Tensor:
    """Return 1 in the upper half, 0 in the lower."""
    return know_left(width, height).T


def know_rim(height: int, width: int) -> Tensor:
    """Return 0 in a box in the middle."""
    known = torch.ones(height, width)
    tall, wide = round(BOX_SHARE * height), round(BOX_SHARE * width)
    top, left = (height - tall) // 2, (width - wide) // 2
    known[top : top + tall, left : left + wide] = 0
    return known


def know_scattered(height: int, width: int) -> Tensor:
    """Return 0 for every other pixel on average, always the same ones."""
    return (torch.rand(height, width, generator=generator(0, "mask")) < 0.5).float()


def know_rows(height: int, width: int) -> Tensor:
    """Return 0 in every other row, the first one among them."""
    return (torch.arange(height) % 2).float()[:, None].expand(height, width)


MASKS: dict[str, Callable[[int, int], Tensor]] = {
    "right half": know_left,
    "lower half": know_top,
    "box": know_rim,
    "random half": know_scattered,
    "every other row": know_rows,
}


def check_mask(known: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a mask (H x W, of 0 and 1) for images of C x H x W as C x H x W.

    Raises InputError for a mask of another size, or one that leaves nothing known or to be found.
    """
    if known.shape != tuple(shape[1:]):
        wanted, got = (" x ".join(map(str, size)) for size in (shape[1:], known.shape))
        raise InputError(f"mask: {got} pixels, the images have {wanted}; use one of their size")
    if not ((known == 0) | (known == 1)).all() or known.unique().numel() != 2:
        raise InputError("mask: expected pixels of 1, known, and of 0, unknown; and some of both")
    return known.expand(*shape)
