"""95 % intervals of Fréchet distances, their differences, KID, precision and recall.

Both sets are samples, and the interval is about what other samples would give. Nothing is drawn
with replacement: repeated images would push each of these statistics away from its value. How
often the intervals hold the truth, measured: docs/intervals.md and tests/metrics/test_coverage.py.

- Distances and shares are those of N images, and the interval is about their mean over new draws
  of N images. The Fréchet distance of N images is larger than that of infinitely many by
  O(1 / N): only distances at equal N compare.
- A difference of two distances is extrapolated to infinitely many images, value and interval: the
  bias is another for each model. It needs more images than features.

The variance of a distance has a first-order part (each image's own influence: the delta method)
and a second-order one (pairs of images), which is all of it where the sets do not differ.
"""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from diffusevae.metrics.distribution import (
    find_covered_by_parts,
    fit_gaussian,
    frechet_distance,
    kernel_blocks,
    kernel_means,
    require_features,
    root_of,
)

Z_95 = 1.959964  # two-sided 95 % quantile of the normal distribution
BLOCKS = 10  # of the jackknife that measures the bias
FOLDS = 3  # of the fits to other images than those that are judged
HALVINGS = 10  # of the set that judges, for precision and recall
SMALLEST = 4  # images in a set
PINV_TOLERANCE = 1e-10  # of the largest eigenvalue: below it a direction has no spread


def frechet_interval(f: np.ndarray, g: np.ndarray) -> dict[str, float]:
    """Return the Fréchet distance of f (N x D) and g (M x D) with its interval: value, low, high.

    Raises ValueError for sets of less than 4 images.
    """
    f, g = require_features(f, g, SMALLEST)
    with threadpool_limits(1, user_api="blas"):  # matrices this small gain nothing from threads
        value, bias = frechet_distance(f, g), _frechet_bias(f, [g])
        first, second = _frechet_variance(f, [g])
    low, high = _solve_interval(value, bias, first, second)
    return {"value": value, "low": max(0.0, low), "high": high}


def frechet_difference(
    reference: np.ndarray, now: np.ndarray, before: np.ndarray | None = None
) -> dict[str, float]:
    """Return by how much `now` is further from the reference than `before`: value, low, high.

    Extrapolated to infinitely many images. now and before: N x D, paired row by row where they
    were made from the same noise; reference: M x D. Without `before` it is the distance itself.
    """
    sets = [now] if before is None else [now, before]
    sets = [require_features(reference, each, SMALLEST)[1] for each in sets]
    reference = np.asarray(reference, dtype=np.float64)
    if len({len(each) for each in sets}) > 1:
        raise ValueError(
            f"sets of {' and '.join(str(len(each)) for each in sets)} images are no pairs"
        )
    with threadpool_limits(1, user_api="blas"):
        value = _change(reference, sets) - _frechet_bias(reference, sets)
        first, second = _frechet_variance(reference, sets)
    # first counts the second-order part twice, and is never less than that.
    variance = max(first - second, first / 2) + second / (BLOCKS - 1)
    reach = Z_95 * float(np.sqrt(variance))
    return {"value": value, "low": value - reach, "high": value + reach}


def kid_interval(f: np.ndarray, g: np.ndarray) -> dict[str, float]:
    """Return the KID of f (N x D) and g (M x D) with its interval: value, low, high."""
    f, g = require_features(f, g, SMALLEST)
    n, m = len(f), len(g)
    in_f, in_g, from_f, from_g = (kernel_means(*pair) for pair in ((f,), (g,), (f, g), (g, f)))
    a, b = ((each - each.mean()) * 2 / len(each) for each in (in_f - from_f, in_g - from_g))
    first = float((a * a).sum() * n / (n - 1) + (b * b).sum() * m / (m - 1))
    (spread_f, pull_f), (spread_g, pull_g), (spread, pull) = (
        _measure_kernel(f, in_f, a / n),
        _measure_kernel(g, in_g, b / m),
        _measure_kernel(f, from_f, a / n, g, from_g, b / m),
    )
    second = 2 * spread_f / (n * (n - 1)) + 2 * spread_g / (m * (m - 1)) + 4 * spread / (n * m)
    # An image's kernel with itself is what the unbiased estimate leaves out.
    bias = sum(
        (np.mean(((each * each).mean(1) + 1) ** 3) - inside.mean()) / len(each)
        for each, inside in ((f, in_f), (g, in_g))
    )
    value = float(in_f.mean() + in_g.mean() - 2 * from_f.mean())
    # How far the images that make the distance larger make its variance larger too (covariance).
    common = float((a**3).sum() + (b**3).sum()) + 4 * (pull_f + pull_g - 2 * pull)
    growth = common * (value + bias) / first**2 if first > 0 else 1.0
    low, high = _solve_interval(value + bias, bias, first, second, max(1.0, growth))
    return {"value": value, "low": float(low - bias), "high": float(high - bias)}


def precision_recall_interval(
    real: np.ndarray, generated: np.ndarray, k: int = 3
) -> dict[str, dict[str, float]]:
    """Return improved precision and recall of generated images, each with value, low, high.

    real: N x D, generated: M x D. Raises ValueError for sets too small (`count_needed`).
    """
    real, generated = require_features(real, generated, count_needed(k))
    return {
        "precision": _share_interval(generated, real, k),
        "recall": _share_interval(real, generated, k),
    }


def count_needed(neighbours: int) -> int:
    """Return the fewest images of a set: half of it must hold a ball's centre and neighbours."""
    return max(SMALLEST, 2 * (neighbours + 1))


def _solve_interval(
    value: float, bias: float, first: float, second: float, growth: float = 1.0
) -> tuple[float, float]:
    """Return all expectations t of a biased squared distance at which `value` is no surprise.

    Estimated variances follow the value (a distance that came out small has a small one), so
    value ± 1.96 deviations misses too often. As Wilson (1927) does for shares, the variance is
    that at t: second + slope * (t - bias) with the slope first / value, for the first-order part
    is proportional to the squared distance without its bias. So it is where all that differs
    shrinks alike; where images far out made the distance large, it grows `growth` (>= 1) times
    as fast. Which of the two it was nobody knows: each bound is that of the larger variance.
    """
    slope = first / value if value > 0 else 0.0

    def bound(sign: int, growth: float) -> float:
        near = value + sign * Z_95 * np.sqrt(second)
        if near <= value - (value - bias) / growth:  # no distance but the bias
            return float(near)
        half = Z_95 * growth * slope / 2
        reach = np.sqrt(half**2 + second + slope * (value - bias))
        return float(value + Z_95 * (half + sign * reach))

    return bound(-1, 1.0), bound(1, growth)


def _change(reference: np.ndarray, sets: Sequence[np.ndarray]) -> float:
    """Return the first set's distance less that of the second, if there is one."""
    distances = [frechet_distance(reference, each) for each in sets]
    return distances[0] - sum(distances[1:])


def _label_parts(size: int, parts: int) -> np.ndarray:
    """Return the part (0 to parts - 1) of each image: at random, for sets may be sorted."""
    return np.random.default_rng(0).permutation(size) % parts


def _frechet_bias(reference: np.ndarray, sets: Sequence[np.ndarray]) -> float:
    """Return by how much the change is larger than for infinitely many images (block jackknife)."""
    blocks = min(BLOCKS, len(reference), len(sets[0]))
    in_reference = _label_parts(len(reference), blocks)
    in_sets = _label_parts(len(sets[0]), blocks)
    left = [
        _change(reference[in_reference != b], [each[in_sets != b] for each in sets])
        for b in range(blocks)
    ]
    return (blocks - 1) * (float(np.mean(left)) - _change(reference, sets))


def _frechet_variance(reference: np.ndarray, sets: Sequence[np.ndarray]) -> tuple[float, float]:
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


def _measure_kernel(
    f: np.ndarray,
    means_f: np.ndarray,
    a: np.ndarray,
    g: np.ndarray | None = None,
    means_g: np.ndarray | None = None,
    b: np.ndarray | None = None,
) -> tuple[float, float]:
    """Return mean square and weighted sum of the kernel less its rows' and columns' means.

    The weights are those of the rows, a, times those of the columns, b. Without g: f's kernel
    with itself, its diagonal left out.
    """
    columns, weights = (means_f if means_g is None else means_g), (a if b is None else b)
    squares, weighted = [], 0.0
    for rows, kernel in kernel_blocks(f, g):
        rest = kernel - means_f[rows, None] - columns + means_f.mean()
        squares.append(np.nanmean(rest * rest, axis=1))
        weighted += float(a[rows] @ np.nan_to_num(rest) @ weights)
    return float(np.mean(np.concatenate(squares))), weighted


def _share_interval(judged: np.ndarray, judges: np.ndarray, k: int) -> dict[str, float]:
    """Return the share of judged images that the judges cover, and its interval (Wilson, 1927).

    The images judged count as independent; what the judges' own sample adds is seen by letting
    random halves of them judge the same images. Half of them varies twice as much as all, and
    their shares differ also by which images were judged, which is counted already.
    """
    parts = np.ones((1 + HALVINGS, len(judges)), dtype=bool)  # first, all of them
    generator = np.random.default_rng(0)
    for part in parts[1:]:
        part[generator.permutation(len(judges))[(len(judges) + 1) // 2 :]] = False
    covered = find_covered_by_parts(judged, judges, k, parts).astype(np.float64)
    share = float(covered[0, 0].mean())
    between = covered[1:, 0] - covered[1:, 1]
    spread = (between.mean(1) ** 2 - between.var(axis=1, ddof=1) / len(judged)).mean() / 2
    count = float(len(judged))
    near = (share * count + 2) / (count + 4)  # neither 0 nor 1 (Agresti and Coull, 1998)
    own = near * (1 - near)
    count = own / (own / count + max(0.0, float(spread)) / 2)  # independent images, in effect
    middle = (share + Z_95**2 / 2 / count) / (1 + Z_95**2 / count)
    reach = (
        Z_95
        * np.sqrt(share * (1 - share) / count + (Z_95 / 2 / count) ** 2)
        / (1 + Z_95**2 / count)
    )
    return {
        "value": share,
        "low": float(min(share, max(0.0, middle - reach))),
        "high": float(max(share, min(1.0, middle + reach))),
    }
