"""First stages and the densities that new codes are drawn from: what is compared, and how judged.

A first stage is judged by what it restores of test images, a prior by how far the images decoded
from its codes lie from real ones, and, where a DiffuseVAE knows that first stage, by them refined.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import PositiveCount, Range
from diffusevae.core.randomness import seed_of
from diffusevae.metrics.bootstrap import interval
from diffusevae.metrics.frechet_intervals import frechet_difference, frechet_interval
from diffusevae.metrics.paired import measure_pairs
from diffusevae.models.index_prior import NUM_HEADS
from diffusevae.models.vae_config import Kind

PriorName = Literal["normal", "mixture", "flow", "diffusion", "autoregressive"]
MIXTURE = "mixture"  # what the other priors are held against
FLOOR = "training codes"  # no prior, but what none of them is to beat: codes of training images
RESTORED = ("mse", "ssim")


@dataclass(frozen=True)
class FirstStage:
    """A kind of first stage (`VAEConfig.kind`), and the priors to draw its codes from.

    labels: a conditional VAE, whose encoder and decoder are told the class.
    """

    kind: Kind
    priors: tuple[PriorName, ...]
    labels: bool = False

    def __post_init__(self) -> None:
        if MIXTURE not in self.priors or len(set(self.priors)) < len(self.priors):
            raise ValueError("priors: expected the mixture and others, each once")
        if "autoregressive" in self.priors and self.kind != "vq":
            raise ValueError(
                "priors: autoregressive draws the indices of a codebook, and a code of kind "
                f"{self.kind} has none; take it out, or use kind vq"
            )

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.kind}-labels" if self.labels else self.kind


@dataclass(frozen=True)
class PriorsConfig:
    """What is compared, and how the priors are learned.

    first_stages: that of the experiment's own kind is taken as it was trained, the others, and
    those that are told labels, are trained as that was. num_components: of mixtures, chosen among.
    epochs, channels: of the learned priors; num_steps: of DDIM, by which the latent diffusion draws
    codes. num_images: test images, and as many from each prior. num_labels: for the linear
    probes of the codes.
    """

    first_stages: tuple[FirstStage, ...]
    num_components: tuple[PositiveCount, ...]
    epochs: PositiveCount
    channels: Annotated[int, Range(8, 1024)]
    num_steps: PositiveCount
    num_images: PositiveCount
    num_labels: tuple[PositiveCount, ...]
    num_resamples: PositiveCount

    def __post_init__(self) -> None:
        kinds = [each.name for each in self.first_stages]
        for name, values in (
            ("first_stages", kinds),
            ("num_components", self.num_components),
            ("num_labels", self.num_labels),
        ):
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}: expected one or more, each once")
        if self.channels % 8 or self.channels % NUM_HEADS:
            raise ValueError(f"channels: {self.channels} is no multiple of 8")


def check_classes(config: PriorsConfig, labels: Tensor) -> None:
    """Raise InputError where a first stage is to be told labels (N) that are all the same."""
    if any(stage.labels for stage in config.first_stages) and len(labels.unique()) < 2:
        raise InputError(
            "priors.first_stages: labels: true, but the training images have no classes; set it "
            "to false, or take images in a folder for each class"
        )


@dataclass(frozen=True, eq=False)
class PriorJudge:
    """What every row is measured by.

    real: N test images in [0, 1]; features: from images to their features; reference: those of
    the real ones.
    """

    real: Tensor
    features: Callable[[Tensor], np.ndarray]
    reference: np.ndarray
    seed: int
    num_resamples: int

    def restored(self, x_hat: Tensor) -> dict[str, float]:
        """Return MSE and SSIM of the real images' reconstructions, with 95 % intervals."""
        measured = measure_pairs(self.real, x_hat)
        row: dict[str, float] = {}
        for name in RESTORED:
            values = measured[name].double().numpy()
            found = interval(values, seed_of(self.seed, "priors", name), self.num_resamples)
            row |= _columns(name, found)
        return row

    def recognised(self, taken: Tensor, wanted: Tensor) -> dict[str, float]:
        """Return the share of images taken for the classes that they were to be of (both: N)."""
        right = (taken == wanted.cpu()).double().numpy()
        seed = seed_of(self.seed, "priors", "recognised")
        return _columns("recognised", interval(right, seed, self.num_resamples))

    def made(self, name: str, f: np.ndarray, mixture: np.ndarray | None) -> dict[str, float]:
        """Return the Frechet distance of new images and its change from the mixture's.

        Each with its 95 % interval. f: the images' features; mixture: those of the images that the
        mixture's codes come to, None for these themselves.
        """
        change = {"value": 0.0, "low": 0.0, "high": 0.0}
        if mixture is not None:
            change = frechet_difference(self.reference, f, mixture)
        distance = frechet_interval(self.reference, f)
        return _columns(f"{name}_frechet", distance) | _columns(f"{name}_change", change)


def _columns(name: str, found: dict[str, float]) -> dict[str, float]:
    return {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}


def order_priors(priors: Iterable[PriorName]) -> list[str]:
    """Return the priors with the mixture first, which the others are held against, and FLOOR."""
    return sorted([*priors, FLOOR], key=lambda name: name != MIXTURE)


def read_best(table: pd.DataFrame) -> pd.DataFrame:
    """Return the row of each first stage whose decoded images lie nearest to real ones.

    `share` is its Frechet distance as a share of the mixture's, `least` that of training codes.
    """
    floors = table[table["prior"] == FLOOR].set_index("kind")["decoded_frechet"]
    table = table[table["prior"] != FLOOR]
    best = table.loc[table.groupby("kind", sort=False)["decoded_frechet"].idxmin()]
    mixtures = table[table["prior"] == MIXTURE].set_index("kind")["decoded_frechet"]
    reference = best["kind"].map(mixtures)
    return best.assign(
        share=best["decoded_frechet"] / reference, least=best["kind"].map(floors) / reference
    )
