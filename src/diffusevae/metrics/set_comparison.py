"""Sets of images held against real ones, in the features of a classifier."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.data.dataset import Split, in_batches, to_unit
from diffusevae.metrics.contracts import NOISE, corrupt, find_breaches, require
from diffusevae.metrics.distribution import frechet_distance, kid
from diffusevae.metrics.frechet_intervals import frechet_interval
from diffusevae.metrics.intervals import count_needed, kid_interval, precision_recall_interval
from diffusevae.models.classifier import Classifier


def compare_sets(
    reference: Tensor,
    sets: dict[str, Tensor],
    classifier: Classifier,
    neighbours: int,
    device: torch.device,
) -> dict[str, dict]:
    """Return Fréchet distance, KID, precision and recall of each set of images, by its name.

    Images are uint8 or float in [0, 1]. Raises InputError naming a set that is too small.
    """
    needed = count_needed(neighbours)
    for name, images in ({"reference": reference} | sets).items():
        if len(images) < needed:
            raise InputError(
                f"evaluate {name}: {len(images)} images; with neighbours = "
                f"{neighbours} use at least {needed}"
            )
    features = extract_features(classifier, reference, device)
    return {
        name: _measure_distribution(
            features, extract_features(classifier, images, device), neighbours, device
        )
        for name, images in sets.items()
    }


def compare_corruptions(
    reference: Tensor, classifier: Classifier, device: torch.device
) -> pd.DataFrame:
    """Return Fréchet distance and KID of the reference from itself with ever more noise."""
    real = to_unit(reference)
    features = extract_features(classifier, real, device)
    rows = []
    for strength in (0.0, *NOISE):
        damaged = extract_features(classifier, corrupt(real, "noise", strength), device)
        rows.append(
            {
                "corruption": "noise" if strength else "none",
                "strength": strength,
                "frechet": frechet_distance(features, damaged),
                "kid": kid(*place_pair(features, damaged, device)),
            }
        )
    return pd.DataFrame(rows)


@torch.inference_mode()
def extract_features(classifier: Classifier, images: Tensor, device: torch.device) -> np.ndarray:
    """Return the classifier's features, N x D float64, of images uint8 or float in [0, 1]."""
    features = [classifier.features(x).double().cpu() for x in list_batches(images, device)]
    return torch.cat(features).numpy()


@torch.inference_mode()
def classify(classifier: Classifier, images: Tensor, device: torch.device) -> Tensor:
    """Return the classes, N on the CPU, that images uint8 or float in [0, 1] are taken for."""
    return torch.cat([classifier(x).argmax(1).cpu() for x in list_batches(images, device)])


@torch.inference_mode()
def describe_classifier(
    classifier: Classifier, test: Split, device: torch.device
) -> dict[str, float]:
    """Return how good the classifier is whose features are used, and how many it has."""
    predicted = classify(classifier, test.images, device)
    return {
        "num_classes": classifier.num_classes,
        "test_accuracy": float((predicted == test.labels).double().mean()),
        "num_features": extract_features(classifier, test.images[:1], device).shape[1],
    }


def _measure_distribution(
    reference: np.ndarray, features: np.ndarray, neighbours: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Return all four with their intervals; tables of all pairs are made on the device."""
    pair = place_pair(reference, features, device)
    results = {
        "frechet": frechet_interval(reference, features),
        "kid": kid_interval(*pair),
        **precision_recall_interval(*pair, k=neighbours),
    }
    require(find_breaches({name: entry["value"] for name, entry in results.items()}))
    return results


def place_pair(f: np.ndarray, g: np.ndarray, device: torch.device) -> tuple[Any, Any]:
    """Return features where their pairs are to be compared: as they are, or on a GPU."""
    if device.type == "cpu":
        return f, g
    return torch.from_numpy(f).to(device), torch.from_numpy(g).to(device)


def list_batches(images: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Yield float batches in [0, 1] on the device."""
    for batch in in_batches(images):
        batch = batch.to(device)
        yield to_unit(batch) if batch.dtype == torch.uint8 else batch
