"""95 % intervals of KID, precision and recall, and what all intervals of sets have in common.

Both sets are samples, and the interval is about what other samples would give: the mean over new
draws of as many images. Nothing is drawn with replacement: repeated images would push each of these
statistics away from its value. How often the intervals hold the truth, measured: docs/intervals.md
and tests/metrics/test_coverage.py.

The variance of a distance has a first-order part (each image's own influence: the delta method)
and a second-order one (pairs of images), which is all of it where the sets do not differ.
"""

import numpy as np

from diffusevae.metrics.distribution import (
    Features,
    as_array,
    find_covered_by_parts,
    kernel_blocks,
    kernel_means,
    leave_out_itself,
    place_beside,
    require_features,
)

Z_95 = 1.959964  # two-sided 95 % quantile of the normal distribution
HALVINGS = 10  # of the set that judges, for precision and recall
SMALLEST = 4  # images in a set


def kid_interval(f: Features, g: Features) -> dict[str, float]:
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
        (np.mean((as_array((each * each).mean(1)) + 1) ** 3) - inside.mean()) / len(each)
        for each, inside in ((f, in_f), (g, in_g))
    )
    value = float(in_f.mean() + in_g.mean() - 2 * from_f.mean())
    # How far the images that make the distance larger make its variance larger too (covariance).
    common = float((a**3).sum() + (b**3).sum()) + 4 * (pull_f + pull_g - 2 * pull)
    growth = common * (value + bias) / first**2 if first > 0 else 1.0
    low, high = solve_interval(value + bias, bias, first, second, max(1.0, growth))
    return {"value": value, "low": float(low - bias), "high": float(high - bias)}


def precision_recall_interval(
    real: Features, generated: Features, k: int = 3
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


def solve_interval(
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


def _measure_kernel(
    f: Features,
    means_f: np.ndarray,
    a: np.ndarray,
    g: Features | None = None,
    means_g: np.ndarray | None = None,
    b: np.ndarray | None = None,
) -> tuple[float, float]:
    """Return mean square and weighted sum of the kernel less its rows' and columns' means.

    The weights are those of the rows, a, times those of the columns, b. Without g: f's kernel
    with itself, its diagonal left out.
    """
    count = len(f) - 1 if g is None else len(g)
    middle, squares, weighted = float(means_f.mean()), [], 0.0
    means, shares = place_beside(f, means_f), place_beside(f, a)
    columns = means if means_g is None else place_beside(f, means_g)
    weights = shares if b is None else place_beside(f, b)
    for rows, rest in kernel_blocks(f, g):
        rest -= means[rows, None]
        rest -= columns
        rest += middle
        if g is None:
            leave_out_itself(rest, rows.start)
        weighted += float(shares[rows] @ rest @ weights)
        rest *= rest
        squares.append(as_array(rest.sum(1)) / count)
    return float(np.mean(np.concatenate(squares))), weighted


def _share_interval(judged: Features, judges: Features, k: int) -> dict[str, float]:
    """Return the share of judged images that the judges cover, and its interval (Wilson, 1927).

    The images judged count as independent; what the judges' own sample adds is seen by letting
    random halves of them judge the same images. Half of them varies twice as much as all, and
    their shares differ also by which images were judged, which is counted already.
    """
    parts = draw_halves(len(judges), HALVINGS, np.random.default_rng(0))
    covered = find_covered_by_parts(judged, judges, k, parts).astype(np.float64)
    share = float(covered[0, 0].mean())
    between = covered[1:, 0] - covered[1:, 1]
    spread = (between.mean(1) ** 2 - between.var(axis=1, ddof=1) / len(judged)).mean() / 2
    count = float(len(judged))
    own = count_spread(share, count)
    return wilson_interval(share, own / (own / count + max(0.0, float(spread)) / 2))


def draw_halves(count: int, number: int, generator: np.random.Generator) -> np.ndarray:
    """Return (1 + number) x count booleans: all of a set, then random halves of it."""
    parts = np.ones((1 + number, count), dtype=bool)
    for part in parts[1:]:
        part[generator.permutation(count)[(count + 1) // 2 :]] = False
    return parts


def count_spread(share: float, count: float) -> float:
    """Return a single image's variance of being counted, never 0 (Agresti and Coull, 1998)."""
    near = (share * count + 2) / (count + 4)
    return near * (1 - near)


def wilson_interval(share: float, count: float) -> dict[str, float]:
    """Return a share of so many independent images with its interval (Wilson, 1927)."""
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
