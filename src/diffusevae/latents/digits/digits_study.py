"""The beta-VAE study on digits: several trainings, what their latents do, and what follows.

Rows B1 to B9 of docs/study.md, section 9. Here one training after another: traversals, factor
cards, and the comparison with a deterministic autoencoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffusevae.core.params import Count, PositiveCount, Range
from diffusevae.core.randomness import generator
from diffusevae.data.dataset import Split, in_batches, to_unit
from diffusevae.latents.measures import traversals
from diffusevae.latents.models.autoencoder import apply
from diffusevae.latents.models.beta_vae import VectorVAE, VectorVAEConfig, encode_images
from diffusevae.latents.models.deterministic import AutoencoderConfig, ConvolutionalAutoencoder
from diffusevae.metrics.distribution import frechet_distance
from diffusevae.models.classifier import Classifier
from diffusevae.models.vae_losses import kl_of_latents
from diffusevae.training.loop import OptimiserConfig


@dataclass(frozen=True)
class BetaVAEConfig:
    """The models, how they are trained, and on how many images what is measured."""

    model: VectorVAEConfig
    autoencoder: AutoencoderConfig
    optimiser: OptimiserConfig
    epochs: PositiveCount
    seeds: tuple[Count, ...]
    steps: Annotated[int, Range(3, 101)]  # of a traversal
    num_traversed: PositiveCount  # test images whose codes are traversed
    num_test_images: PositiveCount
    num_clusters: Annotated[int, Range(2, 1000)]
    noise_levels: tuple[Annotated[float, Range(0, 10)], ...]

    def __post_init__(self) -> None:
        for name in ("seeds", "noise_levels"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}: expected one or more, each once")
        if not max(self.noise_levels) > 0:
            raise ValueError("noise_levels: none is above 0; add one")


@dataclass(frozen=True, eq=False)
class Judges:
    """What every training is judged by: test images with labels, a classifier, the shapes' spread.

    images (N x C x H x W in [0, 1]) and split hold the same test images.
    """

    split: Split
    images: Tensor
    classifier: Classifier
    spread: Mapping[str, float]

    @classmethod
    def of(cls, split: Split, classifier: Classifier) -> "Judges":
        """Return those of a test split."""
        images = to_unit(split.images)
        return cls(split, images, classifier, traversals.measure_spread(images))


@dataclass(frozen=True, eq=False)
class Findings:
    """What one training gave: its cards, the codes of the test images, and the table's numbers."""

    cards: pd.DataFrame
    mu: np.ndarray  # N x latents
    numbers: dict[str, float]


@torch.inference_mode()
def study_beta_vae(model: VectorVAE, judges: Judges, config: BetaVAEConfig, seed: int) -> Findings:
    """Return the findings on a beta-VAE."""
    mu, logvar = encode_images(model, judges.split.images)
    kl = kl_of_latents(mu, logvar).mean(0).numpy()
    effects = traversals.traverse_all(
        model,
        mu[: config.num_traversed],
        config.steps,
        judges.classifier,
        judges.spread,
        lambda latent: (0.0, 1.0),
    )
    cards = traversals.make_cards(effects, kl, seed)
    z = torch.randn(len(mu), mu.shape[1], generator=generator(seed, "prior"))
    numbers = _tabulate(model, mu, cards, z, judges)
    return Findings(
        cards,
        mu.numpy(),
        numbers
        | {"latents in use": float((kl >= traversals.USED).sum()), "KL in nats": float(kl.sum())},
    )


@torch.inference_mode()
def study_autoencoder(
    model: ConvolutionalAutoencoder, judges: Judges, config: BetaVAEConfig, seed: int
) -> Findings:
    """Return the findings on a deterministic autoencoder, as fair as can be.

    It has no prior: its traversals reach 3 standard deviations of the codes to both sides of their
    mean, and it generates from a Gaussian with the mean and variances of the codes.
    """
    codes = apply(model.encode, judges.split.images)
    centre, scale = codes.mean(0), codes.std(0)
    effects = traversals.traverse_all(
        model,
        codes[: config.num_traversed],
        config.steps,
        judges.classifier,
        judges.spread,
        lambda latent: (float(centre[latent]), float(scale[latent])),
    )
    cards = traversals.make_cards(effects, np.full(codes.shape[1], np.nan), seed)
    eps = torch.randn(codes.shape, generator=generator(seed, "prior"))
    numbers = _tabulate(model, codes, cards, centre + scale * eps, judges)
    return Findings(cards, codes.numpy(), numbers | {"latents in use": float((scale > 1e-3).sum())})


def _tabulate(
    model: VectorVAE | ConvolutionalAutoencoder,
    codes: Tensor,
    cards: pd.DataFrame,
    z: Tensor,
    judges: Judges,
) -> dict[str, float]:
    """Return the numbers of the comparison that both kinds of model have."""
    shape = judges.images.shape[1:]
    restored, made = (
        torch.cat([model.decode(part) for part in in_batches(each, shape)]) for each in (codes, z)
    )
    features = [
        torch.cat([judges.classifier.features(part) for part in in_batches(images)])
        for images in (judges.images, made)
    ]
    used = cards[~(cards["kl"] < traversals.USED)]
    used = cards if used.empty else used
    return {
        "reconstruction MSE": float((restored - judges.images).square().mean()),
        "mean |correlation| of two latents": traversals.entanglement(codes.numpy()),
        "R² of a shape by its best latent": traversals.explain_shapes(codes.numpy(), judges.images),
        "traversal: largest step over mean step": float(used["jump"].mean()),
        "traversal: confidence of the classifier": float(used["confidence"].mean()),
        "generation: Fréchet distance": frechet_distance(*(f.numpy() for f in features)),
    }


COMPARED = {  # the study's four rows, and the number that each has now
    "latents in use": "latent space",
    "KL in nats": "latent space",
    "mean |correlation| of two latents": "latent space",
    "R² of a shape by its best latent": "interpretability",
    "traversal: largest step over mean step": "manipulation",
    "traversal: confidence of the classifier": "manipulation",
    "generation: Fréchet distance": "generation",
    "reconstruction MSE": "reconstruction",
}


def compare(beta_vaes: Sequence[Findings], autoencoders: Sequence[Findings]) -> pd.DataFrame:
    """Return the study's table with numbers: median over seeds, least and greatest."""
    rows = []
    for name, row in COMPARED.items():
        entry: dict[str, object] = {"number": name, "row": row}
        for kind, findings in (("autoencoder", autoencoders), ("beta_vae", beta_vaes)):
            values = [one.numbers.get(name, np.nan) for one in findings]
            entry |= {
                kind: np.median(values),
                f"{kind}_low": min(values),
                f"{kind}_high": max(values),
            }
        rows.append(entry)
    return pd.DataFrame(rows)
