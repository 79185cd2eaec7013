"""The UNet of the diffusion model, reused to say which pixels belong to a thing (C8).

Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation" (2015). Two
tasks: digits among clutter (Mnih et al., 2014, who made MNIST so), and the nuclei of a microscope's
image (BBBC038), compared with a threshold.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import Count, PositiveCount, Range, Share
from diffusevae.core.randomness import generator
from diffusevae.figures.drawing import (
    COLOURS,
    INK,
    Strip,
    draw_interval_bars,
    draw_strips,
    label_axes,
    panels,
)
from diffusevae.latents.autoencoders.masks import (
    UNET,
    best_threshold,
    compare_masks,
    otsu_threshold,
)
from diffusevae.latents.autoencoders.part import Data, Part, Train, fill_part
from diffusevae.latents.autoencoders.scenes import (
    Masks,
    crop_tiles,
    cut_tiles,
    hide_digits,
    read_nuclei,
)
from diffusevae.latents.measures.evidence import judge
from diffusevae.latents.models.autoencoder import apply, fit_pairs
from diffusevae.latents.models.segmenter import Segmenter
from diffusevae.models.unet import UNetConfig
from diffusevae.training.loop import OptimiserConfig

OTSU, GLOBAL = "Otsu's threshold", "best global threshold"
METHOD_COLOURS = {UNET: COLOURS["ddpm"], OTSU: COLOURS["vae"], GLOBAL: INK}
SHOWN = 8


@dataclass(frozen=True)
class SegmentationConfig:
    """The network and its trainings; how digits are hidden; the squares cut from the nuclei."""

    unet: UNetConfig
    optimiser: OptimiserConfig
    num_digits: PositiveCount
    digit_epochs: PositiveCount
    num_clutter: Annotated[int, Range(0, 100)]
    noise: Annotated[float, Range(0, 10)]
    tile: Annotated[int, Range(8, 256)]
    num_tiles: PositiveCount
    nuclei_epochs: PositiveCount
    validation_share: Share
    seed: Count


def train_segmenter(
    name: str, config: SegmentationConfig, epochs: int, pairs: Masks, held_out: Masks, train: Train
) -> Segmenter:
    """Return a segmenter trained on the binary cross-entropy; images and masks on the device."""

    def choose(part: str, indices: Tensor, _) -> Masks:
        images, masks = pairs if part == "train" else held_out
        return images[indices], masks[indices]

    def error(logits: Tensor, masks: Tensor) -> Tensor:
        wrong = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
        return wrong.flatten(1).mean(1)

    torch.manual_seed(config.seed)  # initial weights
    model = Segmenter(config.unet, pairs[0].shape[1:]).to(pairs[0].device)
    counts = len(pairs[0]), len(held_out[0])
    facts = {"kind": "segmentation", "images": counts[0], "seed": config.seed}
    return train(
        f"segmentation-{name}",
        facts,
        partial(fit_pairs, model, config.optimiser, epochs, config.seed, counts, choose, error),
    )


def study_segmentation(config: SegmentationConfig, nuclei: Path, data: Data, train: Train) -> Part:
    """Train on digits among clutter and on one half of the nuclei image; test on what is unseen."""
    image, mask = read_nuclei(nuclei)
    smallest = min(image.shape[0] * config.validation_share, image.shape[1] / 2)
    if smallest < config.tile:
        raise InputError(
            f"segmentation.tile {config.tile}: the nuclei image is cut into parts, "
            f"the smallest {int(smallest)} pixels wide; use a smaller tile"
        )
    tasks = {"digits": _make_digits(config, data), "nuclei": _make_nuclei(config, image, mask)}
    epochs = {"digits": config.digit_epochs, "nuclei": config.nuclei_epochs}
    rows, shown = [], {}
    for task, (known, held_out, unseen) in tasks.items():
        device = data.train.device
        known_there, held_out_there = (
            (images.to(device), masks.to(device)) for images, masks in (known, held_out)
        )
        network = train_segmenter(task, config, epochs[task], known_there, held_out_there, train)
        images, masks = unseen
        threshold = best_threshold(*known)
        otsu = torch.tensor([otsu_threshold(one.numpy()) for one in images]).view(-1, 1, 1, 1)
        predicted = {
            UNET: apply(network, images.to(device)) > 0,
            OTSU: images > otsu,
            GLOBAL: images > threshold,
        }
        rows += compare_masks(task, predicted, masks, data.seed)
        shown[task] = images, masks, predicted
    return _report(config, pd.DataFrame(rows), shown)


def _make_digits(config: SegmentationConfig, data: Data) -> tuple[Masks, Masks, Masks]:
    """Return hidden digits to train with, to validate with and to test."""

    def hide(part: str, images: Tensor) -> Masks:
        return hide_digits(
            images.cpu(), config.num_clutter, config.noise, generator(config.seed, "clutter", part)
        )

    return (
        hide("train", data.train[: config.num_digits]),
        hide("validation", data.validation),
        hide("test", data.test),
    )


def _make_nuclei(
    config: SegmentationConfig, image: np.ndarray, mask: np.ndarray
) -> tuple[Masks, Masks, Masks]:
    """Return squares: random ones of the left half (but its lowest rows), those, the right half's.

    Grey values are divided by the largest of the left half.
    """
    middle = image.shape[1] // 2
    lowest = image.shape[0] - round(config.validation_share * image.shape[0])
    image = (image / image[:, :middle].max()).clip(0, 1).astype(np.float32)
    rng = np.random.default_rng(config.seed)
    known = crop_tiles(
        image[:lowest, :middle], mask[:lowest, :middle], config.tile, config.num_tiles, rng
    )

    def cut(rows: slice, columns: slice) -> Masks:
        return (
            cut_tiles(image[rows, columns], config.tile),
            cut_tiles(mask[rows, columns], config.tile),
        )

    return known, cut(slice(lowest, None), slice(0, middle)), cut(slice(None), slice(middle, None))


def _report(
    config: SegmentationConfig,
    table: pd.DataFrame,
    shown: dict[str, tuple[Tensor, Tensor, dict[str, Tensor]]],
) -> Part:
    tasks = []
    for task, own in table.groupby("task"):
        rows = own.set_index("method").to_dict("index")
        rivals = {method: rows[method]["iou"] for method in (OTSU, GLOBAL)}
        rival = max(rivals, key=rivals.__getitem__)
        tasks.append({"task": task, "unet": rows[UNET], "rival": rival, "best": rows[rival]})
    figures = {f"segmentation_{task}.png": _draw_masks(*found) for task, found in shown.items()}
    return fill_part(
        "segmentation",
        {"segmentation.png": _draw(table), **figures},
        {"segmentation.csv": table},
        tasks=tasks,
        seed=config.seed,
        verdict=judge(
            all(one["best"]["change_low"] > 0 for one in tasks),
            any(one["best"]["change_high"] < 0 for one in tasks),
        ),
    )


def _draw(table: pd.DataFrame) -> Figure:
    figure, grid = panels(1, 2, 2.6, sharey=True)
    for axes, (task, own) in zip(grid.flat, table.groupby("task", sort=False), strict=True):
        colours = [METHOD_COLOURS[method] for method in own["method"]]
        draw_interval_bars(axes, own["method"], own, "iou", colours)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1])
        label_axes(axes, f"IoU: {task}")
    grid[0, 0].invert_yaxis()
    return figure


def _draw_masks(images: Tensor, masks: Tensor, predicted: dict[str, Tensor]) -> Figure:
    shown = masks.flatten(1).any(1).nonzero()[:SHOWN, 0]
    strips = [
        Strip("Unseen images", images[shown], COLOURS["real"]),
        Strip("what is to be found", masks[shown], COLOURS["real"]),
    ]
    strips += [
        Strip(method, predicted[method][shown].float(), METHOD_COLOURS[method])
        for method in (UNET, GLOBAL)
    ]
    return draw_strips(strips, SHOWN)
