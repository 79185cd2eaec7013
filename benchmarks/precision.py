"""bfloat16 beside float32: the loss curves of the same trainings, and the seconds of each.

The experiment's VAE and UNet learn from the same real images in either precision (the variable
DIFFUSEVAE_PRECISION), with the same seed and so the same weights at first and the same noise. A
second seed tells what is chance. The validation losses are drawn into reports/precision.png.
"""

import os
from pathlib import Path
from unittest.mock import patch

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from benchmarks.measure import Ratios, Spread, clock, divide, show_table
from benchmarks.setting import Setting
from diffusevae.core.device import PRECISION_VARIABLE, PRECISIONS
from diffusevae.data.dataset import load_split
from diffusevae.experiments.experiment import load_experiment
from diffusevae.figures.drawing import COLOURS, figure_style, label_axes, panels, save_figure
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Callbacks
from diffusevae.training.vae_training import fit_vae

PICTURE = Path("reports/precision.png")
EPOCHS = 4
SEEDS = (0, 1)
KINDS = {"vae": "VAE", "unet": "DDPM"}
Curves = dict[tuple[str, int], list[float]]  # by precision and seed: a loss for each epoch


def measure(setting: Setting) -> Ratios:
    """Print and draw the losses in both precisions; return bfloat16's beside float32's."""
    prepared = load_experiment(setting.experiment).data("prepared", "train.safetensors")
    if not prepared.exists():
        print(f"precision: left out, the images of {setting.experiment} are not there yet")
        return {}
    count = 25_000 if setting.device.type == "cuda" else 2500
    images = load_split(prepared).images[:count].to(setting.device)
    train, validation = images[len(images) // 5 :], images[: len(images) // 5]
    ratios: Ratios = {}
    curves: dict[str, Curves] = {}
    for kind in KINDS:
        curves[kind], seconds = {}, {}
        for precision in PRECISIONS:
            for seed in SEEDS:
                losses, taken = fit(setting, kind, train, validation, precision, seed)
                curves[kind][precision, seed] = losses
                seconds.setdefault(precision, []).append(taken)
        show_table(
            f"Validation loss, {KINDS[kind]}, {len(train)} images an epoch",
            [
                ("epoch", *(f"{precision}, seed {seed}" for precision, seed in curves[kind])),
                *(
                    (epoch + 1, *(f"{losses[epoch]:.5g}" for losses in curves[kind].values()))
                    for epoch in range(EPOCHS)
                ),
            ],
        )
        exact, rounded = (
            [curves[kind][precision, seed][-1] for seed in SEEDS] for precision in PRECISIONS
        )
        ratios[f"{kind}_last_loss_of_float32_vs_bfloat16"] = divide(exact, rounded)
        ratios[f"{kind}_last_loss_of_one_seed_vs_the_other"] = Spread.of([exact[0] / exact[1]])
        ratios[f"{kind}_training_in_bfloat16_vs_float32"] = divide(
            *(seconds[precision] for precision in PRECISIONS)
        )
    PICTURE.parent.mkdir(exist_ok=True)
    with figure_style():
        save_figure(draw(curves), PICTURE)
    print(f"\n{PICTURE}")
    return ratios


def fit(
    setting: Setting,
    kind: str,
    train: torch.Tensor,
    validation: torch.Tensor,
    precision: str,
    seed: int,
) -> tuple[list[float], float]:
    """Return the validation loss of each epoch, and the seconds of the training."""
    params = setting.params
    with patch.dict(os.environ, {PRECISION_VARIABLE: precision}):
        start = clock(setting.device)
        if kind == "vae":
            _, history = fit_vae(
                params.vae, params.vae_optimiser, train, validation, EPOCHS, seed, Callbacks()
            )
        else:
            _, history = fit_diffusion(
                params.diffusion,
                params.unet,
                params.diffusion_optimiser,
                Images(train),
                Images(validation),
                EPOCHS,
                0.0,
                seed,
                Callbacks(),
            )
        seconds = clock(setting.device) - start
    return [row["validation_loss"] for row in history], seconds


def draw(curves: dict[str, Curves]) -> Figure:
    """Return the losses over the epochs: float32 as lines, bfloat16 as points."""
    figure, grid = panels(1, len(curves), 3.2)
    for axes, (kind, of_kind) in zip(grid[0], curves.items(), strict=True):
        for (precision, seed), losses in of_kind.items():
            style = "-" if precision == "float32" else "o"
            axes.plot(
                range(1, EPOCHS + 1),
                losses,
                style,
                label=f"{precision}, seed {seed}",
                color=COLOURS["vae" if seed == SEEDS[0] else "diffusevae"],
            )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(ScalarFormatter())
        axes.set_xticks(range(1, EPOCHS + 1))
        label_axes(axes, KINDS[kind], "epoch", "validation loss")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
