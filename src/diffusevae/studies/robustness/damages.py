"""Damages of images: what is not how the models were trained to see them."""

from collections.abc import Callable

import torch
from torch import Tensor

from diffusevae.metrics.contracts import corrupt


def cut_out(images: Tensor, share: float) -> Tensor:
    """Return images (N x C x H x W) with a black square of that share of the area in the middle."""
    height, width = images.shape[2:]
    tall, wide = (round(side * share**0.5) for side in (height, width))
    top, left = (height - tall) // 2, (width - wide) // 2
    cut = images.clone()
    cut[:, :, top : top + tall, left : left + wide] = 0
    return cut


def move(images: Tensor, pixels: float) -> Tensor:
    """Return images moved to the right by whole pixels, black where nothing comes from."""
    steps = int(pixels)
    moved = torch.zeros_like(images)
    moved[..., steps:] = images[..., : images.shape[-1] - steps]
    return moved


def invert(images: Tensor, share: float) -> Tensor:
    """Return images on their way to their negatives: (1 - share) x + share (1 - x)."""
    return (1 - share) * images + share * (1 - images)


def _noise(images: Tensor, strength: float) -> Tensor:
    return corrupt(images, "noise", strength)


def _blur(images: Tensor, strength: float) -> Tensor:
    return corrupt(images, "blur", strength)


Damage = Callable[[Tensor, float], Tensor]
# Kinds of damage with their unit and ever larger strengths. What takes something away from an image
# is to be restored; what makes another image of it (moved, inverted) is an image of its own, of a
# kind that training did not have.
RESTORABLE: dict[str, tuple[str, Damage, tuple[float, ...]]] = {
    "noise": ("standard deviation", _noise, (0.1, 0.2, 0.4)),
    "blur": ("sigma in pixels", _blur, (0.7, 1.2, 2.0)),
    "cut-out": ("share of the area", cut_out, (0.02, 0.06, 0.15)),
}
FOREIGN: dict[str, tuple[str, Damage, tuple[float, ...]]] = {
    "moved": ("pixels", move, (2, 4, 8)),
    "inverted": ("share", invert, (0.25, 0.75, 1.0)),
}
