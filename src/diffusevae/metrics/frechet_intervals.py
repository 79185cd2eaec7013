"""95 % intervals of Fréchet distances and of their differences.

- A distance is that of N images, which is larger than that of infinitely many by O(1 / N): only
  distances at equal N compare.
- A difference of two distances is extrapolated to infinitely many images, value and interval: the
  bias is another for each model. It needs more images than features.

What the intervals are about, and what their variance is made of: `intervals`.
"""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from diffusevae.metrics.distribution import (
    fit_gaussian,
    frechet_distance,
    require_features,
    root_of,
)
from diffusevae.metrics.intervals import SMALLEST, Z_95, solve_interval

BLOCKS = 10  # of the jackknife that measures the bias
FOLDS = 3  # of the fits to other images than those that are judged
PINV_TOLERANCE = 1e-10  # of the largest eigenvalue: below it a direction has no spread


def frechet_interval(f: np.ndarray, g: np.ndarray) -> dict[str, float]:
    """Return the Fréchet distance of f (N x D) and g (M x D) with its interval: value, low, high.

    Raises ValueError for sets of less than 4 images.
    """
    return frechet_both(f, g)[0]


def frechet_at_infinity(f: np.ndarray, g: np.ndarray) -> dict[str, float]:
    """Return the distance of infinitely many images of both kinds, with its interval.

    It is that of f (N x D) and g (M x D) less its bias, so that of two equal kinds is around zero,
    on either side. Needs more images than features.
    """
    return frechet_both(f, g)[1]


def frechet_both(f: np.ndarray, g: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """Return `frechet_interval` and `frechet_at_infinity`, for the work of one."""
    f, g = require_features(f, g, SMALLEST)
    with threadpool_limits(1, user_api="blas"):  # matrices this small gain nothing from threads
        value, bias = frechet_distance(f, g), _bias_of_change(f, [g])
        first, second = _variance_of_change(f, [g])
        growth = max(1.0, _measure_growth(f, g))
    low, high = solve_interval(value, bias, first, second, growth)
    at_hand = {"value": value, "low": max(0.0, low), "high": high}
    # The bias is measured, too: by the jackknife's blocks.
    low, high = solve_interval(value, bias, first, second + second / (BLOCKS - 1), growth)
    return at_hand, {"value": value - bias, "low": float(low - bias), "high": float(high - bias)}


def frechet_difference(
    reference: np.ndarray, now: np.ndarray, before: np.ndarray | None = None
) -> dict[str, float]:
    """Return by how much `now` is further from the reference than `before`: value, low, high.

    Extrapolated to infinitely many images. now and before: N x D, paired row by row where they
    were made from the same noise; reference: M x D. Without `before` it is the distance itself.
    """
    if before is None:
        return frechet_at_infinity(reference, now)
    sets = [require_features(reference, each, SMALLEST)[1] for each in (now, before)]
    reference = np.asarray(reference, dtype=np.float64)
    if len({len(each) for each in sets}) > 1:
        raise ValueError(
            f"sets of {' and '.join(str(len(each)) for each in sets)} images are no pairs"
        )
    with threadpool_limits(1, user_api="blas"):
        value = _change(reference, sets) - _bias_of_change(reference, sets)
        first, second = _variance_of_change(reference, sets)
    # first counts the second-order part twice, and is never less than that.
    variance = max(first - second, first / 2) + second / (BLOCKS - 1)
    reach = Z_95 * float(np.sqrt(variance))
    return {"value": value, "low": value - reach, "high": value + reach}


def _change(reference: np.ndarray, sets: Sequence[np.ndarray]) -> float:
    """Return the first set's distance less that of the second, if there is one."""
    distances = [frechet_distance(reference, each) for each in sets]
    return distances[0] - sum(distances[1:])


def _label_parts(size: int, parts: int) -> np.ndarray:
    """Return the part (0 to parts - 1) of each image: at random, for sets may be sorted."""
    return np.random.default_rng(0).permutation(size) % parts


def _bias_of_change(reference: np.ndarray, sets: Sequence[np.ndarray]) -> float:
    """Return by how much the change is larger than for infinitely many images (block jackknife)."""
    blocks = min(BLOCKS, len(reference), len(sets[0]))
    in_reference = _label_parts(len(reference), blocks)
    in_sets = _label_parts(len(sets[0]), blocks)
    left = [
        _change(reference[in_reference != b], [each[in_sets != b] for each in sets])
        for b in range(blocks)
    ]
    return (blocks - 1) * (float(np.mean(left)) - _change(reference, sets))


def _variance_of_change(reference: np.ndarray, sets: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the variance of the images' influences, and the second-order part of the change's.

    The influences of N images on a statistic fitted to those images have, summed, the first-order
    variance and twice the second-order one; fitted to the other 1 - 1 / FOLDS of them, twice of
    it times FOLDS / (FOLDS - 1).
    """
    own, other = (_influence_variance(reference, sets, folds) for folds in (1, FOLDS))
    return own, max(0.0, (FOLDS - 1) / 2 * (other - own))


def _influence_variance(reference: np.ndarray, sets: Sequence[np.ndarray], folds: int) -> float:
    """Return the variance of the sum of influences, each of a fit to the other folds."""
    in_reference = _label_parts(len(reference), folds)
    in_sets = _label_parts(len(sets[0]), folds)
    total = [0.0, 0.0]  # squares of the reference's influences, and of the sets'
    for fold in range(folds):
        fit_f = fit_gaussian(reference[(in_reference != fold) | (folds == 1)])
        of_reference, of_sets = np.zeros(1), np.zeros(1)
        for sign, each in zip((1, -1), sets, strict=False):
            fit_g = fit_gaussian(each[(in_sets != fold) | (folds == 1)])
            of_reference = of_reference + sign * _influence(
                reference[in_reference == fold], fit_f, fit_g
            )
            of_sets = of_sets + sign * _influence(each[in_sets == fold], fit_g, fit_f)
        for i, found in enumerate((of_reference, of_sets)):
            total[i] += float(((found - found.mean()) ** 2).sum())
    sizes = len(reference), len(sets[0])
    return sum(squares / (size - folds) / size for squares, size in zip(total, sizes, strict=True))


def _measure_growth(f: np.ndarray, g: np.ndarray) -> float:
    """Return how many per cent the variance grows where the distance grows by one.

    Images are weighed 1 ± influence / deviation: of all such weights these move the distance
    most for their size, by a deviation (the least favourable family; Efron, 1981).
    """
    variance, influences = _weigh_images((f, g), [np.ones(len(f)), np.ones(len(g))])
    if variance == 0:
        return 1.0
    deviation = np.sqrt(variance)
    nearer, further = (
        _weigh_images((f, g), [1 + sign * each / deviation for each in influences])[0]
        for sign in (-1, 1)
    )
    return float((further - nearer) / variance * frechet_distance(f, g) / (2 * deviation))


def _weigh_images(
    sets: Sequence[np.ndarray], weights: Sequence[np.ndarray]
) -> tuple[float, list[np.ndarray]]:
    """Return the variance of two weighed sets' distance, and what each image adds to it."""
    fits = [
        (np.average(x, 0, weight), np.atleast_2d(np.cov(x, rowvar=False, aweights=weight)))
        for x, weight in zip(sets, weights, strict=True)
    ]
    variance, influences = 0.0, []
    for x, weight, own, other in zip(sets, weights, fits, fits[::-1], strict=True):
        found = _influence(x, own, other)
        found -= np.average(found, weights=weight)
        variance += float(np.average(found * found, weights=weight)) / (len(x) - 1)
        influences.append(found / len(x))
    return variance, influences


def _influence(
    x: np.ndarray, own: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return what each row of x (N x D) adds to the distance, up to a constant.

    The distance's gradient is 2 (m - m') in the mean m and I - R (R S R)^(-1/2) R in the
    covariance S, with R = S'^(1/2). Directions without spread have none.
    """
    (mean, cov), (other_mean, other_cov) = own, other
    root = root_of(other_cov)
    values, vectors = np.linalg.eigh(root @ cov @ root)
    floor = max(values[-1] * PINV_TOLERANCE, np.finfo(np.float64).tiny)
    inverse = np.where(values > floor, 1 / np.sqrt(values.clip(floor)), 0.0)
    turned = root @ vectors
    x = x - mean
    return 2 * x @ (mean - other_mean) + (x * x).sum(1) - ((x @ turned) ** 2 * inverse).sum(1)
