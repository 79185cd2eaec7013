"""Archetypes, the beta-VAE study's "pseudo-images", and recognising noisy images by them (B6, B7).

An archetype is the mean code of a class or cluster and what the model decodes from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from diffusevae.core.randomness import generator, seed_of
from diffusevae.data.dataset import in_batches
from diffusevae.latents.models.beta_vae import VectorVAE
from diffusevae.metrics.bootstrap import interval

WAYS = {
    "latent_class": "nearest class archetype, among codes",
    "pixels_class": "nearest class archetype, among pixels",
    "latent_cluster": "nearest cluster archetype, among codes",
    "pixels_cluster": "nearest cluster archetype, among pixels",
    "denoise": "denoised by the beta-VAE, then classified",
    "classify": "classified as it is",
}


@dataclass(frozen=True, eq=False)
class Archetypes:
    """codes (A x latents), images (A x C x H x W in [0, 1]) and labels (A), on the CPU."""

    codes: Tensor
    images: Tensor
    labels: Tensor

    def recognise(self, found: Tensor, kind: str) -> Tensor:
        """Return the label of the nearest archetype for each row of codes or images (`kind`)."""
        return self.labels[torch.cdist(found.flatten(1), getattr(self, kind).flatten(1)).argmin(1)]


@torch.inference_mode()
def find_class_archetypes(model: VectorVAE, mu: Tensor, labels: Tensor) -> Archetypes:
    """Return one archetype per class, of codes mu (N x latents) with labels (N)."""
    classes = labels.unique()
    codes = torch.stack([mu[labels == label].mean(0) for label in classes])
    return Archetypes(codes, model.decode(codes), classes)


@torch.inference_mode()
def find_cluster_archetypes(
    model: VectorVAE, mu: Tensor, labels: Tensor, num_clusters: int, seed: int
) -> Archetypes:
    """Return one archetype per k-means cluster of the codes, labelled by most of its members."""
    found = KMeans(num_clusters, n_init=3, random_state=seed % 2**32).fit(mu.double().numpy())
    codes = torch.from_numpy(found.cluster_centers_).float()
    members = [labels[torch.from_numpy(found.labels_ == i)] for i in range(num_clusters)]
    majority = torch.stack([own.mode().values for own in members])
    return Archetypes(codes, model.decode(codes), majority)


@torch.inference_mode()
def recognise_noisy(
    models: Sequence[tuple[VectorVAE, Archetypes, Archetypes]],
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    level: float,
    seed: int,
) -> list[dict[str, np.ndarray]]:
    """Return for each model, and each of WAYS, whether it recognises each image (N) under noise.

    A model comes with its class and its cluster archetypes. images N x C x H x W in [0, 1]; the
    Gaussian noise has standard deviation `level`, and the result is clipped; all see the same.
    """
    noise = torch.randn(images.shape, generator=generator(seed, "recognise", str(level)))
    noisy = (images + level * noise).clamp(0, 1)
    parts = in_batches(noisy)
    plain = torch.cat([classifier(part).argmax(1) for part in parts])
    found = []
    for model, classes, clusters in models:
        mu = torch.cat([model.encode(part)[0] for part in parts])
        denoised = [
            classifier(model.decode(part)).argmax(1) for part in in_batches(mu, images.shape[1:])
        ]
        told = {
            "latent_class": classes.recognise(mu, "codes"),
            "pixels_class": classes.recognise(noisy, "images"),
            "latent_cluster": clusters.recognise(mu, "codes"),
            "pixels_cluster": clusters.recognise(noisy, "images"),
            "denoise": torch.cat(denoised),
            "classify": plain,
        }
        found.append({way: (told[way] == labels).double().numpy() for way in WAYS})
    return found


def summarise_recognition(
    right: Mapping[float, list[dict[str, np.ndarray]]], seed: int
) -> pd.DataFrame:
    """Return a row per noise level and way: accuracy with its 95 % interval over images.

    `right` has by level what each seed's model recognised; an image counts with its share of seeds.
    `low_seed` and `high_seed` are the least and the greatest accuracy of a seed.
    """
    rows = []
    for level, found in right.items():
        for way, title in WAYS.items():
            by_seed = np.stack([one[way] for one in found])
            accuracy = interval(by_seed.mean(0), seed_of(seed, "recognition", way))
            means = by_seed.mean(1)
            rows.append(
                {
                    "noise": level,
                    "way": way,
                    "title": title,
                    "accuracy": accuracy["value"],
                    "low": accuracy["low"],
                    "high": accuracy["high"],
                    "low_seed": means.min(),
                    "high_seed": means.max(),
                }
            )
    return pd.DataFrame(rows)


def compare_ways(
    right: Mapping[float, list[dict[str, np.ndarray]]], one: str, other: str, seed: int
) -> dict[str, float]:
    """Return accuracy of `one` less that of `other`, averaged over the noise levels: an interval.

    Images are resampled; an image's difference is averaged over levels and seeds.
    """
    differences = [run[one] - run[other] for found in right.values() for run in found]
    return interval(np.mean(differences, axis=0), seed_of(seed, "compare", one, other))
