"""Which of the ways x_hat enters the diffusion model does what: each trained alike, on its own.

The variants of Formulation 1 (docs/study.md, section 4) differ in UNetConfig.fuse only; they share
the frozen VAE, the images, their order, the noise and the sampler.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from diffusevae.core.params import Count, PositiveCount, Share
from diffusevae.metrics.paired import measure_pairs
from diffusevae.models.diffusion import DiffusionConfig
from diffusevae.models.unet import Fuse, UNetConfig
from diffusevae.sampling.samplers import SamplerConfig, sample
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Callbacks, OptimiserConfig

MEASURED = ("mse", "ssim", "edge_sim", "hist_sim")
VAE = "VAE alone"


@dataclass(frozen=True)
class AblateConfig:
    """The values of unet.fuse to compare, how often each is trained, on how much, and how.

    p_uncond: the share of images whose x_hat is hidden in training; guidance needs it above 0.
    """

    variants: tuple[tuple[Fuse, ...], ...]
    seeds: tuple[Count, ...]
    epochs: PositiveCount
    num_train_images: PositiveCount
    num_test_images: PositiveCount
    p_uncond: Share

    def __post_init__(self) -> None:
        for name in ("variants", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}: expected one or more, each once")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Real images and the VAE's reconstructions of them, N x C x H x W in [0, 1]."""

    real: Tensor
    x_hat: Tensor


@dataclass(frozen=True, eq=False)
class Setting:
    """What every variant shares."""

    diffusion: DiffusionConfig
    unet: UNetConfig
    optimiser: OptimiserConfig
    sampler: SamplerConfig
    train: Images
    validation: Images
    test: Pairs
    epochs: int
    p_uncond: float


def name_variant(fuse: Sequence[Fuse]) -> str:
    """Return e.g. in+down+skip."""
    return "+".join(fuse)


def train_variant(
    setting: Setting,
    fuse: Sequence[Fuse],
    seed: int,
    callbacks: Callbacks,
    checkpointer: Checkpointer | None = None,
) -> tuple[dict[str, object], Tensor]:
    """Return a row of the table and the refined test images (N x C x H x W in [0, 1], CPU)."""
    unet = dataclasses.replace(setting.unet, fuse=tuple(fuse))
    model, history = fit_diffusion(
        setting.diffusion,
        unet,
        setting.optimiser,
        setting.train,
        setting.validation,
        setting.epochs,
        setting.p_uncond,
        seed,
        callbacks,
        checkpointer,
    )
    x_hat = setting.test.x_hat
    refined = sample(model, setting.sampler, len(x_hat), seed, x_hat)
    row = {
        "variant": name_variant(fuse),
        "seed": seed,
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "validation_loss": min(row["validation_loss"] for row in history),
    }
    return row | measure_variant(setting.test.real, refined), refined


def measure_variant(real: Tensor, images: Tensor) -> dict[str, float]:
    """Return the mean over images of each metric of the table."""
    values = measure_pairs(real.cpu(), images.cpu())
    return {name: float(values[name].mean()) for name in MEASURED}


def summarise_variants(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per variant: its mean over seeds, and the least and the largest of them."""
    rows = []
    for variant, group in runs.groupby("variant", sort=False):
        row = {
            "variant": variant,
            "num_parameters": group["num_parameters"].iloc[0],
            "num_seeds": len(group),
        }
        for name in MEASURED:
            row |= {
                name: group[name].mean(),
                f"{name}_low": group[name].min(),
                f"{name}_high": group[name].max(),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def run_variants(
    setting: Setting, config: AblateConfig, train: Callable[..., tuple[dict, Tensor]]
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Return the VAE's row and one for each variant and seed, and refinements by the first seed.

    `train(setting, fuse, seed)` trains one.
    """
    rows = [
        {"variant": VAE, "seed": config.seeds[0], "num_parameters": 0}
        | measure_variant(setting.test.real, setting.test.x_hat)
    ]
    shown: dict[str, Tensor] = {}
    for fuse in config.variants:
        for seed in config.seeds:
            row, refined = train(setting, fuse, seed)
            rows.append(row)
            shown.setdefault(row["variant"], refined)
    return pd.DataFrame(rows), shown
