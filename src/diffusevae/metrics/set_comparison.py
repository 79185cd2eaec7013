"""Sets of images held against real ones, in the features of a classifier."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.data.dataset import Split, in_batches, to_unit
from diffusevae.metrics.contracts import NOISE, corrupt, find_breaches, require
from diffusevae.metrics.density_coverage import density_coverage_interval
from diffusevae.metrics.distribution import frechet_distance, kid
from diffusevae.metrics.frechet_intervals import frechet_both, frechet_difference
from diffusevae.metrics.intervals import count_needed, kid_interval, precision_recall_interval
from diffusevae.metrics.labels import RIVALS
from diffusevae.models.classifier import Classifier


def compare_sets(
    reference: Tensor,
    sets: dict[str, Tensor],
    classifier: Classifier,
    neighbours: int,
    device: torch.device,
) -> dict[str, dict]:
    """Return each of DISTRIBUTION of each set of images, by its name.

    As `measure_sets` does. Images are uint8 or float in [0, 1].
    """
    known = extract_features(classifier, reference, device)
    return measure_sets(known, extract_sets(classifier, sets, device), neighbours, device)


def measure_sets(
    reference: np.ndarray, sets: Mapping[str, np.ndarray], neighbours: int, device: torch.device
) -> dict[str, dict]:
    """Return each of DISTRIBUTION with its interval for each set of features, M x D by its name.

    reference: N x D. frechet_inf is None where there are not more images than features. Raises
    InputError naming a set that is too small.
    """
    needed = count_needed(neighbours)
    for name, images in {"reference": reference, **sets}.items():
        if len(images) < needed:
            raise InputError(
                f"evaluate {name}: {len(images)} images; with neighbours = "
                f"{neighbours} use at least {needed}"
            )
    return {
        name: _measure_distribution(reference, features, neighbours, device)
        for name, features in sets.items()
    }


def compare_generators(
    reference: np.ndarray, sets: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float] | None]:
    """Return by how much DiffuseVAE's Fréchet distance is larger than each rival's, by its name.

    reference: N x D, sets: M x D features by the names of WAYS; DiffuseVAE's are those of the
    mixture's codes, as its rivals' are, but for the DDPM. Of infinitely many images, with its 95 %
    interval; None where there are not more images than features.
    """
    refined = sets["diffusevae_gmm"]
    return {
        rival: frechet_difference(reference, refined, sets[rival])
        if _are_enough(reference, refined)
        else None
        for rival in RIVALS
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


def extract_sets(
    classifier: Classifier, sets: Mapping[str, Tensor], device: torch.device
) -> dict[str, np.ndarray]:
    """Return the features of each set of images, by its name."""
    return {name: extract_features(classifier, images, device) for name, images in sets.items()}


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
    """Return each of DISTRIBUTION with its interval; tables of all pairs are made on the device."""
    pair = place_pair(reference, features, device)
    at_hand, at_infinity = frechet_both(reference, features)
    results: dict[str, Any] = {
        "frechet": at_hand,
        "frechet_inf": at_infinity if _are_enough(reference, features) else None,
        "kid": kid_interval(*pair),
        **precision_recall_interval(*pair, k=neighbours),
        **density_coverage_interval(*pair, k=neighbours),
    }
    values = {name: entry["value"] for name, entry in results.items() if entry is not None}
    require(find_breaches(values))
    return results


def _are_enough(reference: np.ndarray, features: np.ndarray) -> bool:
    """Whether there are more images than features: else nothing is extrapolated from them."""
    return min(len(reference), len(features)) > features.shape[1]


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
