"""Codes as features: what a linear classifier reads off them, from few labels and from many."""

import warnings
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from diffusevae.core.randomness import seed_of
from diffusevae.metrics.bootstrap import interval


def choose_labelled(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of `count` items, as many of each class as there are, the first ones."""
    rank = np.empty(len(labels), dtype=int)
    for label in np.unique(labels):
        mine = labels == label
        rank[mine] = np.arange(mine.sum())
    return np.lexsort((labels, rank))[:count]


def measure_probes(
    known: tuple[np.ndarray, np.ndarray],
    unseen: tuple[np.ndarray, np.ndarray],
    counts: Sequence[int],
    seed: int,
    num_resamples: int,
) -> list[dict[str, float]]:
    """Return a row for each number of labels: accuracy of logistic regression, with its interval.

    known and unseen: features N x D and labels N. All features are scaled alike, to a variance of 1
    in the mean: so each keeps its weight beside the others. The interval is over the unseen images.
    Without two classes there is no row.
    """
    from sklearn.linear_model import LogisticRegression

    (features, labels), (others, wanted) = known, unseen
    if len(np.unique(labels)) < 2:
        return []
    mean, deviation = features.mean(0), float(np.sqrt(features.var(0).mean())) + 1e-6
    features, others = ((each - mean) / deviation for each in (features, others))
    rows = []
    for count in counts:
        chosen = choose_labelled(labels, count)
        if len(np.unique(labels[chosen])) < 2:
            continue
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # max_iter ends the fit, converged or not
            probe = LogisticRegression(max_iter=300).fit(features[chosen], labels[chosen])
            right = probe.predict(others) == wanted
        found = interval(right, seed_of(seed, "priors", "probe"), num_resamples)
        row = {"num_labels": count, "accuracy": found["value"]}
        rows.append(row | {f"accuracy_{end}": found[end] for end in ("low", "high")})
    return rows
