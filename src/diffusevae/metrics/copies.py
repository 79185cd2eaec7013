"""Generated images that are copies of real ones: what no distance between sets sees."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from scipy.special import bdtrc
from torch import Tensor

from diffusevae.core.randomness import generator

COPY_RATIO = 0.5  # of the distances to the image copied and to the nearest of another kind
ALARM_RATE = 0.001  # of a set without copies
MOST_COMPARED = 5_000  # images of each kind


def find_copies(
    generated: Mapping[str, Tensor],
    train: Tensor,
    held_out: Tensor,
    seed: int,
    device: torch.device | str = "cpu",
) -> list[str]:
    """Return the sets of images among which are copies of real ones, a line each.

    Images are N x C x H x W, uint8 or in [0, 1]. A set is named falsely with a probability of
    ALARM_RATE at most, whatever the sizes. They are compared on the device.
    """
    lines = []
    for name, images in generated.items():
        counts = count_copies(images, train, held_out, seed, device)
        for kind, other in (("training", "held-out"), ("held-out", "training")):
            copied = counts[kind]
            if chance_of_copies(copied, counts[other]) <= ALARM_RATE / 2:
                lines.append(
                    f"copies: images of {name} lie at {copied} of the {kind} images, at "
                    f"{counts[other]} of as many {other} images; look at them beside "
                    f"their nearest {kind} images before you trust their distances"
                )
    return lines


def count_copies(
    images: Tensor, train: Tensor, held_out: Tensor, seed: int, device: torch.device | str = "cpu"
) -> dict[str, int]:
    """Return of how many "training" and "held-out" images there are copies.

    As many of both are drawn. A copy is at most COPY_RATIO times as far from the image as from the
    nearest of the other kind.
    """
    number = min(len(train), len(held_out), MOST_COMPARED)
    order = [
        torch.randperm(len(some), generator=generator(seed, "copies", i))[:number]
        for i, some in enumerate((train, held_out))
    ]
    real = [_shrink(train[order[0]]).to(device), _shrink(held_out[order[1]]).to(device)]
    near: tuple[set[int], set[int]] = (set(), set())
    for part in _shrink(images[:MOST_COMPARED]).to(device).split(500):
        (first, at_first), (second, at_second) = (torch.cdist(part, own).min(1) for own in real)
        near[0].update(at_first[first <= COPY_RATIO * second].tolist())
        near[1].update(at_second[second < COPY_RATIO * first].tolist())
    return {"training": len(near[0]), "held-out": len(near[1])}


def chance_of_copies(copied: int, others: int) -> float:
    """Return how probable so many images of one kind are where both kinds come up alike.

    Real images of both kinds are exchangeable: to a generator that copies none, which of them it
    comes near to by chance is the toss of a coin (sign test).
    """
    return float(bdtrc(copied - 1, copied + others, 0.5))


def _shrink(images: Tensor) -> Tensor:
    """Return images as rows of floats in [0, 1], of 32 x 32 pixels at most: N x D."""
    x = images.float() / (255 if images.dtype == torch.uint8 else 1)
    height, width = x.shape[2:]
    return F.adaptive_avg_pool2d(x, (min(height, 32), min(width, 32))).flatten(1)
