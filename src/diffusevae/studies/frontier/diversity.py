"""How much of the converged sampler's diversity is left: the variance that its noise alone makes.

Few steps may come nearer to an image's mean, which SSIM rewards and no margin of it sees. So each
of some reconstructions is refined twice, from other noise: half of the mean squared difference is,
on average, the variance of refinements of the same picture.
"""

import math

import numpy as np
from torch import Tensor

from diffusevae.metrics.intervals import Z_95

NUM_TWICE = 100  # refinements made twice: their variance only stands beside, and decides nothing


def measure_variance(one: Tensor, other: Tensor) -> np.ndarray:
    """Return the variance per pixel of N pictures, from two draws of each, N x C x H x W."""
    return ((one - other).square().flatten(1).mean(1).double() / 2).numpy()


def compare_variances(now: np.ndarray, before: np.ndarray) -> dict[str, float]:
    """Return the ratio of two means of the same N pictures' variances: value, low, high (95 %).

    By the delta method, paired. 1 where neither varies; infinite where only `now` does.
    """
    top, bottom = float(now.mean()), float(before.mean())
    if bottom == 0:
        ratio, error = (1.0 if top == 0 else math.inf), 0.0
    else:
        ratio = top / bottom
        error = float((now - ratio * before).std(ddof=1)) / len(now) ** 0.5 / bottom
    return {"value": ratio, "low": ratio - Z_95 * error, "high": ratio + Z_95 * error}
