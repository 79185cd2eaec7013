"""Which objective disentangles sprites best: what each trained model scores, and what that says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import Count, PositiveCount
from diffusevae.core.randomness import generator, seed_of
from diffusevae.data.dataset import in_batches, to_unit
from diffusevae.latents.measures.disentanglement import (
    disentanglement_completeness,
    entropies,
    factor_vae_score,
    importances,
    information_by_quadrature,
    information_by_sampling,
    mutual_information_gap,
    varied,
)
from diffusevae.latents.models.beta_vae import (
    VectorVAE,
    VectorVAEConfig,
    encode_images,
    reconstruction_error,
)
from diffusevae.latents.sprites.disentangling import NAMES, ObjectiveName, ObjectivesConfig
from diffusevae.latents.sprites.dsprites import (
    Sprites,
    draw_images,
    factors_of,
    number_images,
    targets_of,
)
from diffusevae.models.vae_losses import kl_of_latents
from diffusevae.training.loop import OptimiserConfig

# The three scores of the study; the other columns of a run stand beside them.
SCORES = {"factor_vae_score": "FactorVAE score", "dci_disentanglement": "DCI", "mig": "MIG"}
USED = 0.05  # nats of KL from which on a latent counts as used
ALPHA = 0.05  # of the tests behind the verdicts
SHOWN = 10  # images of the picture of reconstructions


@dataclass(frozen=True)
class SpritesConfig:
    """Where the sprites come from, what is trained on them, and how often.

    source: dsprites.json (they are drawn) or dSprites' original file; dvc.yaml hands it over. Each
    of `objectives_compared` is trained with every seed, `steps` steps long. The images of training,
    validation and test are drawn at random from the grid, each at most once.
    """

    source: str
    image_size: Literal[32, 64]
    num_train_images: PositiveCount
    num_validation_images: PositiveCount
    num_test_images: PositiveCount
    vae: VectorVAEConfig
    optimiser: OptimiserConfig
    objectives: ObjectivesConfig
    steps: PositiveCount
    seeds: tuple[Count, ...]

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: expected one or more, each once")
        if self.vae.latents < 2:
            raise ValueError("vae.latents: 1 has no second latent to compare with; use 2 or more")


@dataclass(frozen=True, eq=False)
class SpriteImages:
    """uint8 images, N x 1 x size x size, and of the test images the factors, N x 5."""

    train: Tensor
    validation: Tensor
    test: Tensor
    factors: Tensor
    values: tuple[int, ...]


def choose_images(sprites: Sprites, config: SpritesConfig, seed: int) -> SpriteImages:
    """Return the images of a study, of which none is in two sets. Raises InputError."""
    counts = [config.num_train_images, config.num_validation_images, config.num_test_images]
    available = number_images(sprites.values)
    if sum(counts) > available:
        raise InputError(
            f"sprites: num_train_images, num_validation_images and num_test_images "
            f"ask for {sum(counts)} images of {available}; ask for fewer"
        )
    order = torch.randperm(available, generator=generator(seed, "sprites"))
    numbers = order[: sum(counts)].split(counts)
    train, validation, test = (draw_images(sprites, part, config.image_size) for part in numbers)
    return SpriteImages(
        train, validation, test, factors_of(sprites.values, numbers[2]), sprites.values
    )


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model and what was measured of it on the test images.

    information: the share of a factor's entropy that a latent knows, latents x factors; kl: nats of
    each latent; restored: the first test images through the model, in [0, 1].
    """

    objective: ObjectiveName
    seed: int
    model: VectorVAE
    scores: dict[str, float]
    information: Tensor
    kl: Tensor
    restored: Tensor

    @property
    def mean_score(self) -> float:
        """The mean of the three scores."""
        return float(np.mean([self.scores[name] for name in SCORES]))


@torch.inference_mode()
def measure_run(objective: ObjectiveName, seed: int, model: VectorVAE, images: SpriteImages) -> Run:
    """Return all that the study says of one model."""
    mu, logvar = encode_images(model, images.test)
    factors, kl = images.factors, kl_of_latents(mu, logvar)
    device = next(model.parameters()).device
    error = torch.cat(
        [
            reconstruction_error(model.decoder(code.to(device)), to_unit(x.to(device)), "mse")
            for code, x in zip(in_batches(mu, model.shape), in_batches(images.test), strict=True)
        ]
    )
    information = information_by_quadrature(mu, logvar, factors)
    counted = information_by_sampling(mu, logvar, factors, generator(seed, "counted"))
    kept = varied(factors)
    targets = targets_of(images.values, factors)
    importance, told = importances(mu, [targets[k] for k in kept], seed_of(seed, "dci") % 2**32)
    disentangled, complete = disentanglement_completeness(importance)
    votes = generator(seed, "votes")
    scores = {
        "factor_vae_score": factor_vae_score(mu, factors, votes),
        "dci_disentanglement": disentangled,
        "mig": mutual_information_gap(information, factors),
        "mig_counted": mutual_information_gap(counted, factors),
        "dci_completeness": complete,
        "dci_informativeness": float(told.mean()),
        "mse": float(error.mean()) / images.test[0].numel(),
        "kl": float(kl.sum(1).mean()),
        "used_latents": float((kl.mean(0) > USED).sum()),
    }
    shares = information[:, kept] / entropies(factors[:, kept])
    restored = model.reconstruct(to_unit(images.test[:SHOWN].to(device))).cpu()
    return Run(objective, seed, model, scores, shares.float(), kl.mean(0), restored)


def tabulate_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row per run: objective, seed and everything measured."""
    return pd.DataFrame(
        [{"objective": run.objective, "seed": run.seed, **run.scores} for run in runs]
    )


def summarise_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per objective: of each column the median, the least and the greatest."""
    rows = []
    for objective, own in table.groupby("objective", sort=False):
        row: dict[str, object] = {"objective": NAMES[objective], "num_seeds": len(own)}
        for name in own.columns.drop(["objective", "seed"]):
            row |= {
                name: own[name].median(),
                f"{name}_least": own[name].min(),
                f"{name}_greatest": own[name].max(),
            }
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class RankTest:
    """Is `left` higher than `right`? `p` is of the exact two-sided test of Mann and Whitney."""

    left: float  # medians
    right: float
    p: float

    @property
    def verdict(self) -> Literal["holds", "fails", "open"]:
        """Whether the numbers say that left is higher, that right is, or neither."""
        if self.p > ALPHA:
            return "open"
        return "holds" if self.left > self.right else "fails"


def compare_objectives(
    table: pd.DataFrame, left: ObjectiveName, right: ObjectiveName, column: str
) -> RankTest:
    """Compare two objectives by a column over their seeds."""
    a, b = (table.loc[table["objective"] == name, column] for name in (left, right))
    p = mannwhitneyu(a, b, alternative="two-sided", method="exact").pvalue
    return RankTest(float(a.median()), float(b.median()), float(p))


def share_of_objective(table: pd.DataFrame, column: str) -> float:
    """Return the share of the variance of a column that the objective explains, 0 to 1."""
    total = table[column].var(ddof=0)
    within = table.groupby("objective")[column].var(ddof=0).mean()
    return float(1 - within / total) if total else 0.0
