"""Which classes generated images are of, as the data set's classifier takes them, beside real ones.

A generator that shows few of the classes, or leaves one out, can still score well by the distance
of a set. The classifier errs, but alike on both sides: real images are counted by it, too.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from scipy.special import bdtr, chdtrc  # scipy.stats has both, and takes a second to import
from torch import Tensor

from diffusevae.metrics.set_comparison import classify
from diffusevae.models.classifier import Classifier

MISSED_SHARE = 0.5  # of its share of real images: a class with less is missed
ALARM_RATE = 0.001  # of a set that misses none
MOST_NAMED = 10  # classes in a line


def count_classes(classifier: Classifier, images: Tensor, device: torch.device) -> np.ndarray:
    """Return how many images the classifier takes for each of its K classes: K whole numbers.

    Images are N x C x H x W, uint8 or in [0, 1].
    """
    found = classify(classifier, images, device)
    return np.bincount(found.numpy(), minlength=classifier.num_classes)


def find_missed(counts: np.ndarray, real: np.ndarray) -> list[int]:
    """Return the classes whose share is proven to be less than MISSED_SHARE of the real one.

    counts and real: K, of generated and of real images, drawn independently. Given both together,
    those of a class that are generated are binomial (exactly so for Poisson counts, and for shares
    of a whole spread less: so the test errs on the careful side). A set that misses no class is
    named with a probability of ALARM_RATE at most.
    """
    odds = MISSED_SHARE * counts.sum() / real.sum()
    chance = bdtr(counts, counts + real, odds / (1 + odds))
    return np.flatnonzero(chance <= ALARM_RATE / len(counts)).tolist()


def compare_classes(
    classifier: Classifier, reference: Tensor, sets: Mapping[str, Tensor], device: torch.device
) -> dict:
    """Return the counts of the real images (reference), and of each set its counts and more.

    p_value: how probable shares so different are where both are the same (chi-square); missed:
    classes that `find_missed` names.
    """
    real = count_classes(classifier, reference, device)
    found: dict[str, Any] = {"real": real.tolist(), "sets": {}}
    for name, images in sets.items():
        counts = count_classes(classifier, images, device)
        found["sets"][name] = {
            "counts": counts.tolist(),
            "p_value": measure_agreement(counts, real),
            "missed": find_missed(counts, real),
        }
    return found


def measure_agreement(counts: np.ndarray, real: np.ndarray) -> float:
    """Return the p-value of Pearson's chi-square test that both have the same shares of classes."""
    table = np.stack([counts, real])[:, counts + real > 0]
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    return float(chdtrc(table.shape[1] - 1, ((table - expected) ** 2 / expected).sum()))


def describe_missed(
    name: str, counts: np.ndarray, real: np.ndarray, classes: Collection[int]
) -> str:
    """Return the line about images (counts) of a model that misses these classes of the real."""
    shown = sorted(classes)[:MOST_NAMED]
    seen = ", ".join(f"class {k}: {counts[k]} and {real[k]}" for k in shown)
    more = f", and {len(classes) - len(shown)} classes more" if len(classes) > len(shown) else ""
    return (
        f"classes: images of {name} hardly show what real ones do, by the classifier ({seen}"
        f"{more}; of {counts.sum():,} new and {real.sum():,} real images); train it for longer, or "
        "look at what it makes"
    )
