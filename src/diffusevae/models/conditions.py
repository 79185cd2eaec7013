"""What a network is told of an image, and how it is told nothing (classifier-free guidance).

That is an image-like condition, such as x_hat, and a class. Ho and Salimans 2022, "Classifier-free
diffusion guidance": a network that now and then saw neither knows both densities.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Generator, Tensor

from diffusevae.core.errors import InputError

GREY = 0.5  # of a condition that says nothing: the network, which gets 2 * GREY - 1, is given zeros
Hidden = Literal["all", "x_hat", "labels"]  # what guidance moves away from not knowing


def hide(condition: Tensor, hidden: Tensor) -> Tensor:
    """Return conditions, B x C x H x W, of which the `hidden` ones (B, bool) say nothing."""
    return torch.where(hidden[:, None, None, None], GREY, condition)


def hide_some(
    condition: Tensor | None, labels: Tensor | None, none: int, share: float, rng: Generator
) -> tuple[Tensor | None, Tensor | None]:
    """Return conditions and labels of a batch, hidden for a random share of the images.

    `none` is the label that says nothing. Where there are both, a third of these images lacks the
    condition, a third the label, and a third both: so each can be guided by, or the two together.
    """
    given = condition if condition is not None else labels
    if given is None or share == 0:
        return condition, labels
    drawn = torch.rand(len(given), generator=rng, device=given.device)
    both = condition is not None and labels is not None
    if condition is not None:
        condition = hide(condition, drawn < (share * 2 / 3 if both else share))
    if labels is not None:
        hidden = (drawn < share) & (drawn >= (share / 3 if both else 0))
        labels = torch.where(hidden, none, labels)
    return condition, labels


def tell_apart(
    conditions: Sequence[Tensor], conditional: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return (condition, labels) of what is there of them, in this order."""
    rest = list(conditions)
    condition = rest.pop(0) if conditional and rest else None
    return condition, rest.pop(0) if rest else None


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Raise InputError unless labels (N) are classes that a network of num_classes knows."""
    if num_classes == 0:
        raise InputError(
            "labels: this model knows no classes; leave them out, or train one with "
            "unet.labels: true"
        )
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise InputError(f"labels {int(wrong[0])}: the classes are 0 to {num_classes - 1}")
