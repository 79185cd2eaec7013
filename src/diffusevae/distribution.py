"""Distances between two sets of images by their features: Fréchet distance, KID, precision, recall.

Features are N x D arrays of a named extractor; numbers from different extractors do not compare.
`value ± 1.96 spread` intervals of Fréchet distance and KID come from random subsets drawn without
replacement (delete-d jackknife, Shao and Wu, 1989): the bootstrap repeats images, and repeated
images push both statistics away from the value they should surround. Against simulations the
intervals are about right for sets that differ, and up to twice too wide for sets that do not.
The Fréchet distance of N images is too large by O(1 / N); the interval is about the expected
distance at this N, and only distances at equal N compare.
"""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from diffusevae.bootstrap import interval

Z_95 = 1.959964  # two-sided 95 % quantile of the normal distribution
FRECHET_SUBSETS = 50
ROWS_AT_A_TIME = 1000  # bounds the memory of pairwise tables


def frechet_distance(f: np.ndarray, g: np.ndarray) -> float:
    """Return the squared Fréchet distance of the Gaussians fitted to two feature sets, >= 0.

    |m_f - m_g|^2 + tr(S_f + S_g - 2 (S_f S_g)^(1/2)) (Heusel et al., 2017). f is N x D, g M x D.
    The root's trace is taken from the symmetric S_f^(1/2) S_g S_f^(1/2), whose eigenvalues are
    real and not negative but for rounding: singular covariances (N <= D) are no special case.
    """
    f, g = _require_features(f, g, smallest=2)
    cov_f, cov_g = (np.atleast_2d(np.cov(a, rowvar=False)) for a in (f, g))
    values, vectors = np.linalg.eigh(cov_f)
    root_f = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    root_trace = np.sqrt(np.linalg.eigvalsh(root_f @ cov_g @ root_f).clip(0)).sum()
    distance = ((f.mean(0) - g.mean(0)) ** 2).sum() + np.trace(cov_f + cov_g) - 2 * root_trace
    return max(0.0, float(distance))


def kid(f: np.ndarray, g: np.ndarray) -> float:
    """Return the kernel distance of two feature sets: the unbiased squared MMD.

    The kernel is (a.b / D + 1)^3 (Binkowski et al., 2018). f is N x D, g M x D. Its mean is zero
    for sets of one distribution, so values below zero occur.
    """
    f, g = _require_features(f, g, smallest=2)
    return float(_kid_of_subsets(f, g, np.ones((len(f), 1)), np.ones((len(g), 1)))[0])


def precision_recall(
    real: np.ndarray, generated: np.ndarray, k: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Return improved precision per generated and recall per real image.

    A generated image counts if it lies in the ball around some real image that reaches that
    image's k-th nearest real neighbour; recall swaps the roles. real is N x D, generated M x D;
    the answers are M and N booleans, whose means are precision and recall. Needs N, M > k.
    Source: Kynkaanniemi et al., 2019.
    """
    real, generated = _require_features(real, generated, smallest=k + 1)
    reach_real, reach_generated = _neighbour_reach(real, k), _neighbour_reach(generated, k)
    precise = np.zeros(len(generated), dtype=bool)
    recalled = np.zeros(len(real), dtype=bool)
    for start in range(0, len(real), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        distances = _square_distances(real[rows], generated)
        precise |= (distances <= reach_real[rows, None]).any(axis=0)
        recalled[rows] = (distances <= reach_generated).any(axis=1)
    return precise, recalled


def frechet_interval(f: np.ndarray, g: np.ndarray, seed: int) -> dict[str, float]:
    """Return the Fréchet distance with its 95 % interval (from half sets): value, low, high."""
    generator = np.random.default_rng(seed)
    # One thread: for matrices this small, threads wait for each other longer than they compute.
    with threadpool_limits(1, user_api="blas"):
        draws = [frechet_distance(f[_draw_mask(len(f), 0.5, generator)],
                                  g[_draw_mask(len(g), 0.5, generator)])
                 for _ in range(FRECHET_SUBSETS)]  # fmt: skip
    result = _subset_interval(frechet_distance(f, g), draws, 0.5)
    return result | {"low": max(0.0, result["low"])}


def kid_interval(
    f: np.ndarray, g: np.ndarray, seed: int, num_subsets: int = 100, subset_size: int = 500
) -> dict[str, float]:
    """Return the KID of the whole sets with its 95 % interval: value, low, high.

    Subsets hold `subset_size` images, at most half a set, which is the best choice: where the sets
    hardly differ, smaller ones give too wide an interval. Large ones take no longer.
    """
    f, g = _require_features(f, g, smallest=4)
    generator = np.random.default_rng(seed)
    share = min(0.5, max(2, subset_size) / min(len(f), len(g)))
    # The first column is the whole set, each further one a subset.
    in_f, in_g = (
        np.stack([np.ones(size)] + [_draw_mask(size, share, generator)
                                    for _ in range(num_subsets)], axis=1)
        for size in (len(f), len(g))
    )  # fmt: skip
    value, *draws = _kid_of_subsets(f, g, in_f, in_g)
    return _subset_interval(float(value), draws, share)


def precision_recall_interval(
    real: np.ndarray, generated: np.ndarray, seed: int, num_resamples: int, k: int = 3
) -> dict[str, dict[str, float]]:
    """Return precision and recall, each with value, low, high.

    Bootstrap over the images that are judged; the set that judges them is held fixed, since
    repeated images would shrink its balls.
    """
    precise, recalled = precision_recall(real, generated, k)
    return {"precision": interval(precise, seed, num_resamples),
            "recall": interval(recalled, seed, num_resamples)}  # fmt: skip


def _draw_mask(size: int, share: float, generator: np.random.Generator) -> np.ndarray:
    """Return booleans that pick a share of `size` things at random, two at least."""
    return generator.permutation(size) < max(2, int(share * size))


def _subset_interval(value: float, draws: Sequence[float], share: float) -> dict[str, float]:
    """Return value ± 1.96 times the spread that the values of random subsets imply.

    A statistic of n images varies as 1 / n. Subsets of share n then vary around the whole set's
    value by (1 / share - 1) / n, which the factor below turns into the whole set's own spread.
    """
    reach = Z_95 * float(np.std(draws)) * np.sqrt(share / (1 - share))
    return {"value": value, "low": float(value - reach), "high": float(value + reach)}


def _require_features(f: np.ndarray, g: np.ndarray, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both sets as float64. Raises ValueError where they cannot be compared."""
    f, g = np.asarray(f, dtype=np.float64), np.asarray(g, dtype=np.float64)
    if f.ndim != 2 or g.ndim != 2 or f.shape[1] != g.shape[1]:
        raise ValueError(f"expected features N x D and M x D, got {f.shape} and {g.shape}")
    if min(len(f), len(g)) < smallest:
        raise ValueError(f"sets of {len(f)} and {len(g)} images; at least {smallest} are needed")
    if not (np.isfinite(f).all() and np.isfinite(g).all()):
        raise ValueError("features must be finite")
    return f, g


def _kid_of_subsets(
    f: np.ndarray, g: np.ndarray, in_f: np.ndarray, in_g: np.ndarray
) -> np.ndarray:
    """Return the KID of S pairs of subsets; column s of in_f (N x S) and in_g is 1 for a member.

    All subsets share one pass over the kernel.
    """
    n, m = in_f.sum(0), in_g.sum(0)
    within_f = (_kernel_sums(f, f, in_f, in_f) - _cubic((f * f).sum(1), f) @ in_f) / (n * (n - 1))
    within_g = (_kernel_sums(g, g, in_g, in_g) - _cubic((g * g).sum(1), g) @ in_g) / (m * (m - 1))
    return within_f + within_g - 2 * _kernel_sums(f, g, in_f, in_g) / (n * m)


def _kernel_sums(f: np.ndarray, g: np.ndarray, in_f: np.ndarray, in_g: np.ndarray) -> np.ndarray:
    """Return the sum of the kernel over the pairs of each of the S subsets."""
    sums = np.zeros(in_f.shape[1])
    for start in range(0, len(f), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        sums += ((_cubic(f[rows] @ g.T, f) @ in_g) * in_f[rows]).sum(0)
    return sums


def _cubic(products: np.ndarray, f: np.ndarray) -> np.ndarray:
    base = products / f.shape[1] + 1
    return base * base * base  # numpy's ** 3 is many times slower


def _neighbour_reach(f: np.ndarray, k: int) -> np.ndarray:
    """Return each row's squared distance to its k-th nearest neighbour, itself not counted."""
    return np.concatenate([
        np.partition(_square_distances(f[i : i + ROWS_AT_A_TIME], f), k, axis=1)[:, k]
        for i in range(0, len(f), ROWS_AT_A_TIME)
    ])  # fmt: skip


def _square_distances(f: np.ndarray, g: np.ndarray) -> np.ndarray:
    squares = f @ g.T
    squares *= -2
    squares += (f * f).sum(1)[:, None]
    squares += (g * g).sum(1)
    return squares.clip(0, out=squares)
