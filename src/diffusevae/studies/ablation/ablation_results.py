"""What the ablation starts from, each of its trainings, and the files that it leaves."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from torch import Tensor

from diffusevae.data.dataset import Split, to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.models.unet import Fuse
from diffusevae.models.vae import VAE, reconstruct_all
from diffusevae.studies.ablation.ablation_figures import draw_refined, draw_variants
from diffusevae.studies.ablation.ablation_study import (
    Pairs,
    Setting,
    name_variant,
    run_variants,
    summarise_variants,
    train_variant,
)
from diffusevae.training.diffusion_training import Images
from diffusevae.training.stage_trainings import OpenTraining


def make_setting(
    params: SimpleNamespace,
    train: Split,
    validation: Split,
    test: Split,
    vae: VAE,
    device: torch.device,
) -> Setting:
    """Return what every variant shares: the images on the device with the VAE's x_hat of them."""
    config = params.ablate
    counts = config.num_train_images, None, config.num_test_images
    splits = train, validation, test
    known, held_out, unseen = (
        split.images[:count].to(device) for split, count in zip(splits, counts, strict=True)
    )
    return Setting(
        params.diffusion,
        params.unet,
        params.diffusion_optimiser,
        params.sampler,
        Images(known, reconstruct_all(vae, known)),
        Images(held_out, reconstruct_all(vae, held_out)),
        Pairs(to_unit(unseen), reconstruct_all(vae, unseen)),
        config.epochs,
        config.p_uncond,
    )


def train_variants(
    setting: Setting, params: SimpleNamespace, open_one: OpenTraining
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Return what `run_variants` does, each training opened by its variant and seed."""

    def train_one(setting: Setting, fuse: tuple[Fuse, ...], seed: int) -> tuple[dict, Tensor]:
        variant = name_variant(fuse)
        with open_one(f"{variant}-{seed}", {"fuse": variant, "seed": seed}) as training:
            row, refined = train_variant(
                setting, fuse, seed, training.callbacks(), training.checkpointer
            )
            training.log.summary({k: v for k, v in row.items() if not isinstance(v, str)})
        return row, refined

    return run_variants(setting, params.ablate, train_one)


def save_ablation(
    out: Path, runs: pd.DataFrame, refined: Mapping[str, Tensor], test: Pairs
) -> None:
    """Write runs.csv, table.csv, table.png and images.png."""
    out.mkdir(parents=True, exist_ok=True)
    runs.to_csv(out / "runs.csv", index=False)
    summarise_variants(runs).to_csv(out / "table.csv", index=False)
    with figure_style():
        save_figure(draw_variants(runs), out / "table.png")
        save_figure(draw_refined(test, refined), out / "images.png")
