"""Do trainings that differ in their seed alone agree on which latent matters? (docs/study.md, B5)

The latents of two trainings have no common order. So their ranks are compared twice: by index, as
one would who speaks of "neuron 3", and after each latent was matched with the one of the first
training whose codes resemble its own most.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

NUM_SHUFFLES = 5000


def concordance(scores: np.ndarray) -> float:
    """Return Kendall's W of m rankings of n things (scores m x n): 1 for equal, 1/m by chance.

    Ties share their mean rank and are corrected for. Kendall and Babington Smith (1939).
    """
    ranks = np.apply_along_axis(rankdata, 1, scores)
    m, n = ranks.shape
    sums = ranks.sum(0)
    ties = sum(
        (counts**3 - counts).sum()
        for counts in (np.unique(row, return_counts=True)[1] for row in ranks)
    )
    most = m**2 * (n**3 - n) - m * ties
    return float(12 * ((sums - sums.mean()) ** 2).sum() / most) if most else 1.0


def chance_of_concordance(scores: np.ndarray, seed: int) -> float:
    """Return the share of random orders whose W reaches that of `scores` (a permutation test)."""
    ranks = np.apply_along_axis(rankdata, 1, scores)
    orders = np.broadcast_to(ranks, (NUM_SHUFFLES, *ranks.shape))
    shuffled = np.random.default_rng(seed).permuted(orders, axis=2)
    # Of the same ranks, W grows with the spread of their sums alone.
    reached = (shuffled.sum(1).var(1) >= ranks.sum(0).var() - 1e-9).sum()
    return float((1 + reached) / (1 + NUM_SHUFFLES))


def match_latents(reference: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each latent of `reference`, that of `codes` matched with it and their |r|.

    Both are N x latents, codes of the same images. The matching with the largest sum of absolute
    correlations (Hungarian method); a latent that does not vary correlates with nothing.
    """
    a, b = (
        np.nan_to_num((x - x.mean(0)) / np.where(x.std(0) > 1e-9, x.std(0), np.inf))
        for x in (reference, codes)
    )
    correlations = np.abs(a.T @ b) / len(a)
    rows, columns = linear_sum_assignment(-correlations)
    return columns, correlations[rows, columns]


def rank(scores: Sequence[float]) -> np.ndarray:
    """Return 1 for the largest score, 2 for the next, ..."""
    return rankdata(-np.asarray(scores), method="ordinal").astype(int)
