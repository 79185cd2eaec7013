"""Masks of what is to be found in images: by a threshold, and how well any mask fits."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from diffusevae.latents.autoencoders.scenes import INSIDE
from diffusevae.latents.measures.evidence import spread

THRESHOLDS = 256
UNET = "UNet"


def otsu_threshold(image: np.ndarray) -> float:
    """Return the threshold that parts the grey values in [0, 1] best (Otsu, 1979).

    It maximises the variance between the two sides over 256 grey values.
    """
    counts, edges = np.histogram(image, bins=THRESHOLDS, range=(0, 1))
    centres = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()[:-1].astype(float)
    above = counts.sum() - below
    sums = (counts * centres).cumsum()
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    # Between two clusters all thresholds are as good: the middle one.
    best = np.flatnonzero(np.isclose(between, between.max()))
    return float(edges[1:-1][best].mean())


def best_threshold(images: Tensor, masks: Tensor) -> float:
    """Return the one threshold with the highest mean IoU on these images."""
    candidates = torch.linspace(0, 1, 65)[1:-1]
    scores = [intersection_over_union(images > t, masks > INSIDE).nanmean() for t in candidates]
    return float(candidates[int(torch.stack(scores).argmax())])


def intersection_over_union(predicted: Tensor, mask: Tensor) -> Tensor:
    """Return the IoU of each image's masks (bool, N x 1 x H x W); NaN where both are empty."""
    both = (predicted & mask).flatten(1).sum(1).double()
    return both / (predicted | mask).flatten(1).sum(1).double()


def compare_masks(
    task: str, predicted: Mapping[str, Tensor], masks: Tensor, seed: int
) -> list[dict[str, object]]:
    """Return a row for each method: its IoU, and the UNet's less its, over images with a mask."""
    there = masks.flatten(1).any(1)
    masks = masks[there] > INSIDE
    scores = {
        method: intersection_over_union(one[there], masks) for method, one in predicted.items()
    }
    rows = []
    for method, own in scores.items():
        row = {
            "task": task,
            "method": method,
            "images": len(own),
            **spread(own, seed, "iou"),
            "iou_of_all": float(_pooled(predicted[method][there], masks)),
        }
        if method != UNET:
            row |= spread(scores[UNET] - own, seed, "change")
        rows.append(row)
    return rows


def _pooled(predicted: Tensor, masks: Tensor) -> Tensor:
    """Return the IoU of all pixels of all images together."""
    return intersection_over_union(predicted.reshape(1, -1), masks.reshape(1, -1))
