"""Distances between two sets of images by their features, and who lies near whom.

Features are N x D arrays of a named extractor; numbers from different extractors do not compare.
The Fréchet distance of N images is too large by O(1 / N): only distances at equal N compare.

Tables of pairs are made where the features are: by numpy of arrays, by torch of tensors on a GPU.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

CHUNK = 1000  # bounds the memory of pairwise tables
AT_ONCE = 20  # rows of a table that stay in a CPU's cache
Features = TypeVar("Features", np.ndarray, Tensor)


def frechet_distance(f: np.ndarray, g: np.ndarray) -> float:
    """Return the squared Fréchet distance of the Gaussians fitted to two feature sets, >= 0.

    |m_f - m_g|^2 + tr(S_f + S_g - 2 (S_f S_g)^(1/2)) (Heusel et al., 2017). f is N x D, g M x D.
    The root's trace is taken from the symmetric S_f^(1/2) S_g S_f^(1/2), whose eigenvalues are
    real and not negative but for rounding: singular covariances (N <= D) are no special case.
    """
    (mean_f, cov_f), (mean_g, cov_g) = map(fit_gaussian, require_features(f, g, smallest=2))
    root_f = root_of(cov_f)
    root_trace = np.sqrt(np.linalg.eigvalsh(root_f @ cov_g @ root_f).clip(0)).sum()
    distance = ((mean_f - mean_g) ** 2).sum() + np.trace(cov_f + cov_g) - 2 * root_trace
    return max(0.0, float(distance))


def fit_gaussian(f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (D) and covariance (D x D) of N x D features."""
    return f.mean(0), np.atleast_2d(np.cov(f, rowvar=False))


def root_of(cov: np.ndarray) -> np.ndarray:
    """Return the symmetric root of a D x D covariance, which may be singular."""
    values, vectors = np.linalg.eigh(cov)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def kid(f: np.ndarray, g: np.ndarray) -> float:
    """Return the kernel distance of two feature sets: the unbiased squared MMD.

    The kernel is (a.b / D + 1)^3 (Binkowski et al., 2018). f is N x D, g M x D. Its mean is zero
    for sets of one distribution, so values below zero occur.
    """
    f, g = require_features(f, g, smallest=2)
    means = [kernel_means(*pair).mean() for pair in ((f,), (g,), (f, g))]
    return float(means[0] + means[1] - 2 * means[2])


def kernel_blocks(f: Features, g: Features | None = None) -> Iterator[tuple[slice, Features]]:
    """Yield (rows of f, their kernel with all of g) block by block, each to be done with as liked.

    Without g: with all of f, 0 where an image meets itself.
    """
    other = f if g is None else g
    for start in range(0, len(f), CHUNK):
        block = f[start : start + CHUNK] @ other.T
        step = AT_ONCE if isinstance(f, np.ndarray) else CHUNK
        for first in range(0, len(block), step):
            base = block[first : first + step]
            base /= f.shape[1]
            base += 1
            base *= base * base  # numpy's ** 3 is many times slower
        if g is None:
            leave_out_itself(block, start)
        yield slice(start, start + len(block)), block


def leave_out_itself(block: Features, start: int) -> None:
    """Put 0 where an image meets itself, in the rows of a table from `start`."""
    places = np.arange(len(block))
    block[places, places + start] = 0


def kernel_means(f: Features, g: Features | None = None) -> np.ndarray:
    """Return each row's mean kernel with the rows of g; without g: with the other rows of f."""
    count = len(f) - 1 if g is None else len(g)
    return np.concatenate([as_array(kernel.sum(1)) / count for _, kernel in kernel_blocks(f, g)])


def as_array(values: np.ndarray | Tensor) -> np.ndarray:
    """Return values as numpy has them, on the CPU."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def place_beside(f: Features, values: np.ndarray) -> Features:
    """Return values where f is, as f is."""
    return values if isinstance(f, np.ndarray) else torch.from_numpy(values).to(f.device)


def find_covered_by_parts(
    images: Features, centres: Features, k: int, parts: np.ndarray
) -> np.ndarray:
    """Return which of N images each part of M centres covers by itself, S x 2 x N booleans.

    An image is covered where it lies in the ball around some centre, which reaches that centre's
    k-th nearest other centre. Improved precision is the share of generated images that real ones
    cover, recall that of real images that generated ones cover (Kynkaanniemi et al., 2019).

    parts: S x M booleans, each a division of the centres into two: those that are true, then the
    others. A part holds none or more than k, and half of all about. Distances are taken once.
    """
    reaches = find_reaches(centres, k, parts)
    image, centre, apart = find_pairs(images, centres, reaches.max(axis=0))
    covered = np.zeros((len(parts), 2, len(images)), dtype=bool)
    for part, reach, found in zip(parts, reaches, covered, strict=True):
        inside = apart <= reach[centre]
        found[0, image[inside & part[centre]]] = True
        found[1, image[inside & ~part[centre]]] = True
    return covered


def find_pairs(
    images: Features, centres: Features, reaches: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs of an image (N x D) that a centre (M x D) reaches: their rows, how far.

    reaches: M squared distances; the third array holds such, too. Of all pairs they are few.
    """
    widest, found = place_beside(centres, reaches), []
    for start in range(0, len(images), CHUNK):
        distances = _square_distances(images[start : start + CHUNK], centres)
        rows, columns = _find_true(distances <= widest)
        apart = as_array(distances[rows, columns])
        found.append((start + as_array(rows), as_array(columns), apart))
    image, centre, apart = map(np.concatenate, zip(*found, strict=True))
    return image, centre, apart


def find_reaches(f: Features, k: int, parts: np.ndarray) -> np.ndarray:
    """Return each row's squared distance to its k-th nearest neighbour in its part, S x N.

    parts: S x N booleans, as `find_covered_by_parts` takes them.
    """
    # So many of the nearest hold k of a random half but for a chance below 1e-15.
    near = min(len(f), 8 * k + 64)
    reaches = np.empty(parts.shape)
    for start in range(0, len(f), CHUNK):
        rows = slice(start, start + CHUNK)
        distances, nearest = _find_smallest(_square_distances(f[rows], f), near)
        for part, reach in zip(parts, reaches, strict=True):
            alike = np.where(part[nearest] == part[rows, None], distances, np.inf)
            reach[rows] = np.partition(alike, k, axis=1)[:, k]  # the nearest is the row itself
    return reaches


def require_features(f: Features, g: Features, smallest: int) -> tuple[Features, Features]:
    """Return both sets as float64. Raises ValueError where they cannot be compared."""
    f, g = _in_float64(f), _in_float64(g)
    if f.ndim != 2 or g.ndim != 2 or f.shape[1] != g.shape[1]:
        raise ValueError(f"expected features N x D and M x D, got {f.shape} and {g.shape}")
    if min(len(f), len(g)) < smallest:
        raise ValueError(f"sets of {len(f)} and {len(g)} images; at least {smallest} are needed")
    if not (np.isfinite(as_array(f)).all() and np.isfinite(as_array(g)).all()):
        raise ValueError("features must be finite")
    return f, g


def _in_float64(f: Features) -> Features:
    return np.asarray(f, dtype=np.float64) if not isinstance(f, Tensor) else f.double()


def _square_distances(f: Features, g: Features) -> Features:
    squares = f @ g.T
    squares *= -2
    squares += (f * f).sum(1)[:, None]
    squares += (g * g).sum(1)
    squares[squares < 0] = 0
    return squares


def _find_smallest(table: Features, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` smallest values of each row, in any order, and their columns."""
    if isinstance(table, Tensor):
        found = table.topk(count, largest=False)
        return as_array(found.values), as_array(found.indices)
    columns = np.argpartition(table, count - 1, axis=1)[:, :count]
    return np.take_along_axis(table, columns, axis=1), columns


def _find_true(table: Features) -> tuple[Features, ...]:
    """Return the rows and the columns in which a table of booleans is true."""
    return table.nonzero(as_tuple=True) if isinstance(table, Tensor) else np.nonzero(table)
