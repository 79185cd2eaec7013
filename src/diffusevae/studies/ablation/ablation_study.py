"""What a variant of DiffuseVAE does to its refinements: each trained alike, on its own.

Variants differ in where the condition enters (both formulations: docs/study.md, section 4), in what
it is, or in values of the section diffusion; they share the frozen VAE, the images, their order,
the noise and the sampler.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import pandas as pd
from torch import Tensor

from diffusevae.core.params import Count, PositiveCount, Range, Share
from diffusevae.metrics.paired import measure_pairs
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.unet import Fuse, UNetConfig
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.sampling.samplers import sample
from diffusevae.studies.ablation.further_measures import (
    FURTHER,
    EncodedImages,
    measure_bits,
    measure_paths,
)
from diffusevae.studies.ablation.variants import Variant, apply_variant, make_condition, name_fuse
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Callbacks, OptimiserConfig

MEASURED = ("mse", "ssim", "edge_sim", "hist_sim")
VAE = "VAE alone"


@dataclass(frozen=True)
class AblateConfig:
    """The variants to compare, how often each is trained, on how much, and how.

    One that differs in unet.fuse alone is the list of its values, and called by them. p_uncond: the
    share of images whose x_hat is hidden in training; guidance needs it above 0. Where path_steps
    is above 0, the straightness of paths of that many steps is measured too; where bound_images is,
    bits per dimension of that many test images.
    """

    variants: tuple[tuple[Fuse, ...] | Variant, ...]
    seeds: tuple[Count, ...]
    epochs: PositiveCount
    num_train_images: PositiveCount
    num_test_images: PositiveCount
    p_uncond: Share
    path_steps: Annotated[int, Range(0, 10_000)] = 0
    bound_images: Count = 0

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.listed]
        for place, values in {"variants": names, "seeds": self.seeds}.items():
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{place}: expected one or more, each once")

    @property
    def listed(self) -> list[Variant]:
        """Every variant by its name."""
        return [
            each if isinstance(each, Variant) else Variant(name_fuse(each), each)
            for each in self.variants
        ]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Real images and the VAE's reconstructions of them, N x C x H x W in [0, 1]; their labels."""

    real: Tensor
    x_hat: Tensor
    labels: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Codes:
    """The VAE's z of images, each N x Cz x h x w, of mean 0 and spread 1 over the training's."""

    train: Tensor
    validation: Tensor
    test: Tensor


@dataclass(frozen=True, eq=False)
class Setting:
    """What every variant shares; labels, codes and drawn where they are needed."""

    diffusion: DiffusionConfig
    unet: UNetConfig
    optimiser: OptimiserConfig
    sampler: SamplerConfig
    train: Images
    validation: Images
    test: Pairs
    epochs: int
    p_uncond: float
    codes: Codes | None = None
    drawn: EncodedImages | None = None
    path_steps: int = 0


def train_variant(
    setting: Setting,
    variant: Variant,
    seed: int,
    callbacks: Callbacks,
    checkpointer: Checkpointer | None = None,
) -> tuple[dict[str, str | float], Tensor]:
    """Return a row of the table and the refined test images (N x C x H x W in [0, 1], CPU)."""
    diffusion, unet = apply_variant(variant, setting.diffusion, setting.unet)
    attended = "attend" in unet.fuse and variant.condition in ("code", "both")
    labels = setting.test.labels if variant.labels else None
    train, validation, condition = give_conditions(setting, variant, attended)
    model, history = fit_diffusion(
        diffusion,
        unet,
        setting.optimiser,
        train,
        validation,
        setting.epochs,
        setting.p_uncond,
        seed,
        callbacks,
        checkpointer,
    )
    count = len(setting.test.real)
    refined = sample(model, setting.sampler, count, seed, condition, labels=labels)
    row: dict[str, str | float] = {
        "variant": variant.name,
        "seed": seed,
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "validation_loss": min(row["validation_loss"] for row in history),
    }
    row |= measure_variant(setting.test.real, refined)
    if setting.path_steps:
        row |= measure_paths(model, setting.sampler, condition, labels, setting.path_steps, seed)
    if drawn := setting.drawn:
        told = make_condition(variant.condition, drawn.x_hat, drawn.code, attended)
        row |= measure_bits(model, told, drawn, variant.labels, seed)
    return row, refined


def give_conditions(
    setting: Setting, variant: Variant, attended: bool = False
) -> tuple[Images, Images, Tensor | None]:
    """Return training and validation images with the variant's conditions, and the test images'.

    attended: whether the code is among them to be attended to.
    """
    codes = setting.codes

    def give(images: Images, code: Tensor | None) -> Images:
        assert images.condition is not None
        told = make_condition(variant.condition, images.condition, code, attended)
        shape = tuple(code.shape[1:]) if attended and code is not None else None
        labels = images.labels if variant.labels else None
        return Images(images.x, told, labels, images.flips, shape)

    return (
        give(setting.train, codes.train if codes else None),
        give(setting.validation, codes.validation if codes else None),
        make_condition(
            variant.condition, setting.test.x_hat, codes.test if codes else None, attended
        ),
    )


def measure_variant(real: Tensor, images: Tensor) -> dict[str, float]:
    """Return the mean over images of each metric of the table."""
    values = measure_pairs(real.cpu(), images.cpu())
    return {name: float(values[name].mean()) for name in MEASURED}


def list_measured(runs: pd.DataFrame) -> list[str]:
    """Return the metrics that the runs have a column of."""
    return [*MEASURED, *(name for name in FURTHER if name in runs)]


def summarise_variants(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per variant: its mean over seeds, and the least and the largest of them."""
    rows = []
    for variant, group in runs.groupby("variant", sort=False):
        row = {
            "variant": variant,
            "num_parameters": group["num_parameters"].iloc[0],
            "num_seeds": len(group),
        }
        for name in list_measured(runs):
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

    `train(setting, variant, seed)` trains one.
    """
    rows = [
        {"variant": VAE, "seed": config.seeds[0], "num_parameters": 0}
        | measure_variant(setting.test.real, setting.test.x_hat)
    ]
    shown: dict[str, Tensor] = {}
    for variant in config.listed:
        for seed in config.seeds:
            row, refined = train(setting, variant, seed)
            rows.append(row)
            shown.setdefault(row["variant"], refined)
    return pd.DataFrame(rows), shown
