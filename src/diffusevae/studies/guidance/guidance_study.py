"""How strongly to guide: fidelity against diversity, and whether the class asked for is made.

Every way to guide makes images of the same classes from the same noise and codes, under ever larger
weights w (Ho and Salimans 2022, section 4; for the classifier Dhariwal and Nichol 2021, section 4).
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pandas as pd
import torch
from scipy.stats import binomtest
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import PositiveCount, Range
from diffusevae.metrics.set_comparison import classify, compare_sets
from diffusevae.models.classifier import Classifier
from diffusevae.models.conditions import Hidden
from diffusevae.sampling.fields import want_labels
from diffusevae.sampling.generation import Models, decode_new_codes, sample_new
from diffusevae.sampling.sampler_config import SamplerConfig, check_guidance
from diffusevae.sampling.samplers import sample

Weight = Annotated[float, Range(0, 100)]
MEASURED = ("frechet", "precision", "recall", "recognised")


@dataclass(frozen=True)
class GuideConfig:
    """The weights of guidance and those of the classifier's, and how many images each makes.

    The classes are taken in turn. neighbours: of precision and recall.
    """

    weights: tuple[Weight, ...]
    classifier_weights: tuple[Weight, ...]
    num_images: Annotated[int, Range(8, 100_000)]
    neighbours: PositiveCount

    def __post_init__(self) -> None:
        for name in ("weights", "classifier_weights"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected one or more")


@dataclass(frozen=True)
class Guided:
    """Who is guided, and by what: x_hat, labels, all that it is told, or the classifier."""

    model: str
    by: Hidden | Literal["classifier"]

    @property
    def name(self) -> str:
        """E.g. DiffuseVAE, by labels."""
        return f"{self.model}, by {self.by}"


DDPM, DIFFUSEVAE = "DDPM", "DiffuseVAE"
BY: tuple[Hidden, ...] = ("labels", "x_hat", "all")
ALL_GUIDED = (
    Guided(DDPM, "labels"),
    *(Guided(DIFFUSEVAE, by) for by in BY),
    Guided(DDPM, "classifier"),
)


@dataclass(frozen=True, eq=False)
class Asked:
    """What all ways have in common: N labels, the VAE's pictures of codes of these classes."""

    labels: Tensor
    decoded: Tensor


def require_guidable(models: Models) -> None:
    """Raise InputError unless both models know classes, and images without their conditions."""
    for name, model in (("train_ddpm", models.ddpm), ("train_diffusevae", models.diffusevae)):
        if model.unet.num_classes == 0 or model.p_uncond == 0:
            raise InputError(
                f"guide: {name} was trained without classes or never without its conditions; set "
                f"unet.labels to true and {name}.p_uncond above 0, or take the experiment guided"
            )
    models.mixture.require_classes(torch.zeros(1, dtype=torch.long))


def make_subject(models: Models, num_images: int, seed: int) -> Asked:
    """Return the classes in turn, and pictures of codes from the mixture of each."""
    labels = torch.arange(num_images) % models.mixture.num_classes
    return Asked(labels, decode_new_codes(models, "gmm", num_images, seed, labels))


def make_images(
    models: Models,
    way: Guided,
    weight: float,
    sampler: SamplerConfig,
    subject: Asked,
    classifier: Classifier,
    seed: int,
) -> Tensor:
    """Return the images of one way under one weight, N x C x H x W in [0, 1] on the CPU."""
    count, labels = len(subject.labels), subject.labels
    if way.by == "classifier":  # of a DDPM that is told no class
        plain = dataclasses.replace(sampler, guidance=0.0)
        field = want_labels(models.ddpm, classifier, labels, weight)
        return sample(models.ddpm, plain, count, seed + 1, field=field)
    model = models.ddpm if way.model == DDPM else models.diffusevae
    guided = dataclasses.replace(sampler, guidance=weight, guided_by=way.by)
    check_guidance(guided, model.p_uncond)
    condition = None if way.model == DDPM else subject.decoded
    return sample_new(model, guided, count, seed, condition, labels=labels)


def measure_images(
    images: Tensor, labels: Tensor, classifier: Classifier, reference: Tensor, neighbours: int
) -> dict[str, float]:
    """Return each of MEASURED with its 95 % interval (_low, _high).

    Fréchet distance, precision and recall are those from real images (reference, uint8) in the
    classifier's features; recognised is the share that it takes for the class asked for, with
    Wilson's interval.
    """
    device = next(classifier.parameters()).device
    found = compare_sets(reference, {"guide": images}, classifier, neighbours, device)["guide"]
    right = int((classify(classifier, images, device) == labels).sum())
    share = binomtest(right, len(labels)).proportion_ci(0.95, "wilson")
    found["recognised"] = {"value": right / len(labels), "low": share.low, "high": share.high}
    row: dict[str, float] = {}
    for name in MEASURED:
        entry = found[name]
        row |= {name: entry["value"], f"{name}_low": entry["low"], f"{name}_high": entry["high"]}
    return row


def sweep(
    models: Models,
    classifier: Classifier,
    sampler: SamplerConfig,
    config: GuideConfig,
    reference: Tensor,
    seed: int,
    say: Callable[[str], None],
) -> tuple[pd.DataFrame, dict[tuple[str, float], Tensor]]:
    """Return a row for every way and weight, and its first image of each class.

    registered: whether the experiment's registered model generates so.
    """
    subject = make_subject(models, config.num_images, seed)
    rows: list[dict[str, object]] = []
    shown = {}
    for way in ALL_GUIDED:
        for weight in _weights_of(way, sampler, config):
            images = make_images(models, way, weight, sampler, subject, classifier, seed)
            found = measure_images(images, subject.labels, classifier, reference, config.neighbours)
            used = way == Guided(DIFFUSEVAE, sampler.guided_by) and weight == sampler.guidance
            rows.append({"way": way.name, "weight": weight, "registered": used} | found)
            shown[way.name, weight] = images[: models.mixture.num_classes]
            values = "  ".join(f"{name} {found[name]:.4g}" for name in MEASURED)
            say(f"{way.name}  w {weight:g}  {values}")
    return pd.DataFrame(rows), shown


def choose_weight(table: pd.DataFrame, by: Hidden) -> float:
    """Return the weight with the smallest Fréchet distance of DiffuseVAE guided so."""
    rows = table[table["way"] == Guided(DIFFUSEVAE, by).name]
    return float(rows.loc[rows["frechet"].idxmin(), "weight"])


def _weights_of(way: Guided, sampler: SamplerConfig, config: GuideConfig) -> Sequence[float]:
    if way.by == "classifier":
        return config.classifier_weights
    return sorted({*config.weights, sampler.guidance})
