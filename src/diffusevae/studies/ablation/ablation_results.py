"""What the ablation starts from, each of its trainings, and the files that it leaves."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from torch import Tensor

from diffusevae.data.dataset import Split, to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.metrics.summary import save_summary
from diffusevae.models.vae import VAE, encode_all, reconstruct_all
from diffusevae.studies.ablation.ablation_figures import draw_refined, draw_variants
from diffusevae.studies.ablation.ablation_study import (
    Codes,
    Pairs,
    Setting,
    list_measured,
    run_variants,
    summarise_variants,
    train_variant,
)
from diffusevae.studies.ablation.further_measures import draw_codes
from diffusevae.studies.ablation.variants import Variant
from diffusevae.training.diffusion_training import make_images
from diffusevae.training.stage_trainings import OpenTraining

SMALLEST_SPREAD = 1e-6  # of a channel of codes: one that says nothing has less


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
    told = dataclasses.replace(params.unet, labels=True)  # which those who want them are given
    known = make_images(train.first(config.num_train_images), told, device, vae, train.flips)
    held_out = make_images(validation, told, device, vae)
    unseen = test.first(config.num_test_images).to(device)
    codes = drawn = None
    if any(variant.condition in ("code", "both") for variant in config.listed):
        codes, mean, spread = encode_splits(vae, known.x, held_out.x, unseen.images)
    if config.bound_images:
        drawn = draw_codes(vae, test.first(config.bound_images).to(device), params.seed)
        if codes is not None:
            drawn = dataclasses.replace(drawn, code=(drawn.code - mean) / spread)
    return Setting(
        params.diffusion,
        params.unet,
        params.diffusion_optimiser,
        params.sampler,
        known,
        held_out,
        Pairs(to_unit(unseen.images), reconstruct_all(vae, unseen.images), unseen.labels),
        config.epochs,
        config.p_uncond,
        codes,
        drawn,
        config.path_steps,
    )


def encode_splits(
    vae: VAE, train: Tensor, validation: Tensor, test: Tensor
) -> tuple[Codes, Tensor, Tensor]:
    """Return the codes of uint8 images on the VAE's device, each channel standardised by mean and
    spread (1 x Cz x 1 x 1) of the training's, and these.
    """
    codes = [encode_all(vae, images).to(images.device) for images in (train, validation, test)]
    spread, mean = torch.std_mean(codes[0], dim=(0, 2, 3), keepdim=True)
    spread = spread.clamp(min=SMALLEST_SPREAD)
    return Codes(*((code - mean) / spread for code in codes)), mean, spread


def train_variants(
    setting: Setting, params: SimpleNamespace, open_one: OpenTraining
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Return what `run_variants` does, each training opened by its variant and seed."""

    def train_one(setting: Setting, variant: Variant, seed: int) -> tuple[dict, Tensor]:
        name = variant.name
        with open_one(f"{name}-{seed}", {"variant": name, "seed": seed}) as training:
            row, refined = train_variant(
                setting, variant, seed, training.callbacks(), training.checkpointer
            )
            training.log.summary({k: v for k, v in row.items() if not isinstance(v, str)})
        return row, refined

    return run_variants(setting, params.ablate, train_one)


def save_ablation(
    out: Path, runs: pd.DataFrame, refined: Mapping[str, Tensor], test: Pairs
) -> None:
    """Write runs.csv, table.csv, metrics.json, table.png and images.png."""
    out.mkdir(parents=True, exist_ok=True)
    runs.to_csv(out / "runs.csv", index=False)
    table = summarise_variants(runs)
    table.to_csv(out / "table.csv", index=False)
    save_summary(out / "metrics.json", table, "variant", list_measured(runs))
    with figure_style():
        save_figure(draw_variants(runs), out / "table.png")
        save_figure(draw_refined(test, refined), out / "images.png")
