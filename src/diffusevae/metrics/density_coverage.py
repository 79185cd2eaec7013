"""Density and coverage of generated images (Naeem et al., 2020), with 95 % intervals.

Around each real image lies a ball that reaches its k-th nearest other real image. Density is the
mean number of balls that hold a generated image, over k: unlike precision it does not call a
region real because one outlier's ball is wide. Coverage is the share of balls that hold any
generated image: unlike recall it asks nothing of balls around generated ones. Sets of one
distribution have a density of 1 and a coverage of about 1 - 2^-k (`expect_coverage`).

What the intervals are about: `intervals`. How often they hold it: tests/metrics/test_coverage.py.
"""

import numpy as np

from diffusevae.metrics.distribution import Features, find_pairs, find_reaches, require_features
from diffusevae.metrics.intervals import (
    Z_95,
    count_needed,
    count_spread,
    draw_halves,
    solve_interval,
    wilson_interval,
)

HALVINGS = 30  # of both sets


def density_coverage_interval(
    real: Features, generated: Features, k: int = 3
) -> dict[str, dict[str, float]]:
    """Return density (>= 0) and coverage (0 to 1) of generated images: value, low, high of each.

    real: N x D, generated: M x D. Raises ValueError for sets too small (`count_needed`).

    Both sets are cut into random halves again and again. What the two halves of one set differ in
    has four times the variance of the whole's share of it. A density is a sum over pairs, so it
    has a part of pairs as well; whether a ball is hit at all is none, and its is left out.
    """
    real, generated = require_features(real, generated, count_needed(k))
    generator = np.random.default_rng(0)
    balls = draw_halves(len(real), HALVINGS, generator)
    images = draw_halves(len(generated), HALVINGS, generator)
    reaches = find_reaches(real, k, balls)
    image, centre, apart = find_pairs(generated, real, reaches.max(axis=0))
    quarters = []
    for ball, reach, drawn in zip(balls, reaches, images, strict=True):
        inside = apart <= reach[centre]
        quarters.append(_measure_quarters(image[inside], centre[inside], ball, drawn, k))
    density, coverage = quarters[0][:, 1, 1]
    (by_ball, by_image, by_pair), (hit_by_ball, hit_by_image, _) = _split_variance(
        np.array(quarters[1:])
    )
    own = count_spread(coverage, len(real))
    hit = hit_by_ball + hit_by_image
    return {
        "density": _density_interval(density, by_ball + by_image + by_pair, len(generated)),
        "coverage": wilson_interval(float(coverage), own / hit if hit > 0 else len(real)),
    }


def expect_coverage(real: int, generated: int, k: int) -> float:
    """Return the mean coverage where so many real and generated images are of one distribution.

    A ball is empty where the k nearest of all other images happen to be real.
    """
    places = np.arange(k)
    return 1 - float(np.prod((real - 1 - places) / (real - 1 + generated - places)))


def _measure_quarters(
    image: np.ndarray, centre: np.ndarray, ball: np.ndarray, drawn: np.ndarray, k: int
) -> np.ndarray:
    """Return density and coverage, 2 x 2 x 2: of the balls, then of the images in a half or not.

    image, centre: the pairs of an image within a ball. ball: N booleans, drawn: M booleans. A
    quarter without images holds 0.
    """
    values, hit = np.zeros((2, 2, 2)), np.zeros((len(ball), 2), dtype=bool)
    np.add.at(values[0], (ball[centre].astype(int), drawn[image].astype(int)), 1)
    values[0] /= k * np.maximum(1, [(~drawn).sum(), drawn.sum()])
    hit[centre, drawn[image].astype(int)] = True
    for side in (False, True):
        values[1, int(side)] = hit[ball == side].sum(0) / max(1, (ball == side).sum())
    return values


def _split_variance(quarters: np.ndarray) -> np.ndarray:
    """Return the variance that balls, images and their pairs make, 2 x 3, from S x 2 x 2 x 2."""
    aa, ab, ba, bb = (quarters[:, :, i, j] for i in (1, 0) for j in (1, 0))
    contrasts = np.stack([aa + ab - ba - bb, aa - ab + ba - bb, aa - ab - ba + bb], axis=-1) / 2
    return (contrasts**2).mean(0) / 4


def _density_interval(value: float, variance: float, number: int) -> dict[str, float]:
    """Return a density of so many images with its interval; its variance grows as it does."""
    if value == 0:  # as a share's: so many images could be hit, each by about one ball
        return {"value": 0.0, "low": 0.0, "high": Z_95**2 / (number + Z_95**2)}
    low, high = solve_interval(float(value), 0.0, float(variance), 0.0)
    return {"value": float(value), "low": max(0.0, low), "high": high}
