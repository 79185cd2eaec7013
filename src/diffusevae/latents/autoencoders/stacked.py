"""The stacked autoencoder: trained layer by layer with tied weights, then as a whole (C7).

Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks" (2006), with
ReLU and with autoencoders in the place of restricted Boltzmann machines (Bengio et al., 2007).
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.core.params import Count, PositiveCount, Range
from diffusevae.data.dataset import to_unit
from diffusevae.data.resizing import resize
from diffusevae.figures.drawing import (
    COLOURS,
    Strip,
    draw_interval_bars,
    draw_strips,
    label_axes,
    panels,
)
from diffusevae.latents.autoencoders.part import (
    AE,
    FAMILY_COLOURS,
    PCA,
    Data,
    Part,
    Train,
    fill_part,
)
from diffusevae.latents.measures.evidence import judge, spread
from diffusevae.latents.models.autoencoder import apply, fit_pairs, squared_error
from diffusevae.latents.models.stacked import StackedAutoencoder, TiedLayer
from diffusevae.metrics.paired import mse
from diffusevae.models.pca import fit_pca
from diffusevae.training.loop import Model, OptimiserConfig

SHOWN = 10
GREEDY, TUNED = "stacked AE, layer by layer", "stacked AE, fine-tuned"


@dataclass(frozen=True)
class StackedConfig:
    """Side of the images it takes, widths above the pixels (the code's last), and the trainings."""

    image_size: Annotated[int, Range(4, 256)]
    widths: tuple[Annotated[int, Range(1, 4096)], ...]
    layer_epochs: PositiveCount
    epochs: PositiveCount
    optimiser: OptimiserConfig
    seed: Count

    def __post_init__(self) -> None:
        if not self.widths:
            raise ValueError("widths: expected one or more")


def train_greedily(
    config: StackedConfig, pixels: Tensor, held_out: Tensor, train: Train
) -> StackedAutoencoder:
    """Return the stack whose every layer is an autoencoder of the code below it.

    pixels and held_out (validation) are N x pixels in [0, 1].
    """
    layers = []
    for i, outputs in enumerate(config.widths):
        torch.manual_seed(config.seed + i)  # initial weights
        layer = TiedLayer(pixels.shape[1], outputs, i == 0, i == len(config.widths) - 1)
        facts = {"kind": "stacked", "layer": i + 1, "outputs": outputs, "seed": config.seed}
        layers.append(
            _fit(
                f"stacked-layer-{i + 1}",
                facts,
                layer.to(pixels.device),
                config,
                config.layer_epochs,
                pixels,
                held_out,
                train,
            )
        )
        pixels, held_out = (apply(layers[-1].encode, x).to(x.device) for x in (pixels, held_out))
    return StackedAutoencoder(layers)


def fine_tune(
    config: StackedConfig,
    greedy: StackedAutoencoder,
    pixels: Tensor,
    held_out: Tensor,
    train: Train,
) -> StackedAutoencoder:
    """Return a copy of the stack that was trained as a whole; the weights stay tied."""
    stack = copy.deepcopy(greedy).requires_grad_(True)
    facts = {"kind": "stacked", "layer": "all", "seed": config.seed}
    return _fit("stacked-all", facts, stack, config, config.epochs, pixels, held_out, train)


def _fit(
    name: str,
    facts: Mapping[str, object],
    model: Model,
    config: StackedConfig,
    epochs: int,
    inputs: Tensor,
    held_out: Tensor,
    train: Train,
) -> Model:
    """Train a model to give its inputs back."""

    def pairs(part: str, indices: Tensor, _) -> tuple[Tensor, Tensor]:
        x = (inputs if part == "train" else held_out)[indices]
        return x, x

    counts = len(inputs), len(held_out)
    return train(
        name,
        facts,
        partial(
            fit_pairs, model, config.optimiser, epochs, config.seed, counts, pairs, squared_error
        ),
    )


def study_stacked(config: StackedConfig, data: Data, train: Train) -> Part:
    """Train the stack, before and after fine-tuning; compare with PCA of as many numbers."""
    size = config.image_size
    images, held_out, unseen = (
        resize(part, size, "bilinear", False) for part in (data.train, data.validation, data.test)
    )
    pixels, held_out_pixels, unseen_pixels = (
        to_unit(part).flatten(1) for part in (images, held_out, unseen)
    )
    greedy = train_greedily(config, pixels, held_out_pixels, train)
    tuned = fine_tune(config, greedy, pixels, held_out_pixels, train)
    real = to_unit(unseen.cpu())
    restored = {
        PCA: fit_pca(images).reconstruct(unseen.cpu(), config.widths[-1]),
        GREEDY: apply(greedy, unseen_pixels).reshape(real.shape),
        TUNED: apply(tuned, unseen_pixels).reshape(real.shape),
    }
    linear = mse(real, restored[PCA])
    rows = []
    for model, images in restored.items():
        rows.append(
            {"model": model, "numbers": config.widths[-1]}
            | spread(mse(real, images), data.seed, "mse")
        )
        if model != PCA:
            rows[-1] |= spread(mse(real, images) - linear, data.seed, "mse_change")
    return _report(config, pd.DataFrame(rows), real, restored)


def _report(
    config: StackedConfig, table: pd.DataFrame, real: Tensor, restored: dict[str, Tensor]
) -> Part:
    rows = table.set_index("model").to_dict("index")
    tuned, greedy = rows[TUNED], rows[GREEDY]
    size, code = config.image_size, config.widths[-1]
    strips = [Strip("Real test images", real[:SHOWN], COLOURS["real"])]
    strips += [
        Strip(
            f"{model}: {code} numbers", images[:SHOWN], FAMILY_COLOURS[PCA if model == PCA else AE]
        )
        for model, images in restored.items()
    ]
    return fill_part(
        "stacked",
        {"stacked.png": _draw(table), "stacked_images.png": draw_strips(strips, SHOWN)},
        {"stacked.csv": table},
        layers="-".join(map(str, (size * size, *config.widths))),
        size=size,
        code=code,
        num_images=len(real),
        seed=config.seed,
        pca=rows[PCA],
        greedy=greedy,
        tuned=tuned,
        beats_pca=judge(tuned["mse_change_high"] < 0, tuned["mse_change_low"] > 0),
        improves=judge(
            tuned["mse_high"] < greedy["mse_low"], tuned["mse_low"] > greedy["mse_high"]
        ),
    )


def _draw(table: pd.DataFrame) -> Figure:
    figure, grid = panels(1, 1, 2.2)
    axes = grid[0, 0]
    colours = [FAMILY_COLOURS[PCA if model == PCA else AE] for model in table["model"]]
    draw_interval_bars(axes, table["model"], table, "mse", colours)
    axes.invert_yaxis()
    label_axes(axes, "Test error (lower is better)", "mean squared error")
    return figure
