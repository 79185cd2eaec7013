"""From a 3 to a 5 through the code: what lies between, and whether it is a digit (C9)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import PositiveCount, Range
from diffusevae.data.dataset import to_unit
from diffusevae.figures.drawing import COLOURS, MUTED, Strip, draw_strips, label_axes, panels
from diffusevae.latents.autoencoders.part import AE, FAMILY_COLOURS, VAE, Data, Part, fill_part
from diffusevae.latents.measures.evidence import judge, spread
from diffusevae.latents.measures.traversals import largest_step
from diffusevae.latents.models.autoencoder import apply
from diffusevae.latents.models.beta_vae import VectorVAE
from diffusevae.models.classifier import Classifier
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.models.vae import VAE as StageVAE
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.sampling.samplers import sample

START, END = 3, 5
FADE, FIRST_STAGE, DIFFUSEVAE = "pixel cross-fade", "VAE of the experiment", "DiffuseVAE"
METHOD_COLOURS = {
    FADE: MUTED,
    AE: FAMILY_COLOURS[AE],
    VAE: FAMILY_COLOURS[VAE],
    FIRST_STAGE: COLOURS["linear"],
    DIFFUSEVAE: COLOURS["diffusevae"],
}


@dataclass(frozen=True)
class InterpolationConfig:
    """Pairs of a 3 and a 5, images on each path (both ends among them), DiffuseVAE's sampler."""

    num_pairs: PositiveCount
    num_steps: Annotated[int, Range(3, 101)]
    sampler: SamplerConfig

    def __post_init__(self) -> None:
        if not self.sampler.shared_noise:
            raise ValueError(
                "sampler.shared_noise: false, but along a path only the code must change; use true"
            )


@dataclass(frozen=True, eq=False)
class Generators:
    """Models to interpolate with: the family's AE and VAE, the experiment's VAE and DiffuseVAE."""

    ae: VectorVAE
    vae: VectorVAE
    first_stage: StageVAE
    diffusevae: DiffusionModel


def interpolate(start: Tensor, end: Tensor, num_steps: int) -> Tensor:
    """Return num_steps points from start to end (each N x ...), evenly spaced: N x steps x ..."""
    shares = torch.linspace(0, 1, num_steps, device=start.device)
    shares = shares.view(1, -1, *[1] * (start.dim() - 1))
    return start[:, None] * (1 - shares) + end[:, None] * shares


def find_pairs(config: InterpolationConfig, data: Data) -> tuple[Tensor, Tensor]:
    """Return the first test images of both classes. Raises InputError where there are too few."""
    images = []
    for label in (START, END):
        found = (data.labels == label).nonzero()[: config.num_pairs, 0]
        if len(found) < config.num_pairs:
            raise InputError(
                f"interpolation.num_pairs {config.num_pairs}: there are only "
                f"{len(found)} test images of class {label}; use at most as many"
            )
        images.append(data.test[found.to(data.test.device)])
    return images[0], images[1]


def draw_paths(
    config: InterpolationConfig, models: Generators, start: Tensor, end: Tensor, seed: int
) -> dict[str, Tensor]:
    """Return each method's images between two sets of uint8 images: N x steps x C x H x W, CPU.

    DiffuseVAE refines the images of the VAE it was trained on, all from the same noise.
    """

    def walk(encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor]) -> Tensor:
        first, last = (apply(encode, images).to(images.device) for images in (start, end))
        codes = interpolate(first, last, config.num_steps)
        return apply(decode, codes.flatten(0, 1)).unflatten(0, codes.shape[:2])

    first_stage = models.first_stage
    paths = {
        FADE: interpolate(to_unit(start.cpu()), to_unit(end.cpu()), config.num_steps),
        AE: walk(lambda x: models.ae.encode(x)[0], models.ae.decode),
        VAE: walk(lambda x: models.vae.encode(x)[0], models.vae.decode),
        FIRST_STAGE: walk(lambda x: first_stage.encode(x)[0], first_stage.decode),
    }
    x_hat = paths[FIRST_STAGE].flatten(0, 1)
    refined = sample(models.diffusevae, config.sampler, len(x_hat), seed, x_hat)
    return paths | {DIFFUSEVAE: refined.unflatten(0, paths[FIRST_STAGE].shape[:2])}


def classify_paths(classifier: Classifier, images: Tensor) -> Tensor:
    """Return the classifier's probabilities of images N x steps x ...: N x steps x classes."""
    device = next(classifier.parameters()).device
    logits = apply(classifier, images.flatten(0, 1).contiguous().to(device))
    return logits.softmax(1).double().unflatten(0, images.shape[:2])


def study_interpolation(
    config: InterpolationConfig, models: Generators, classifier: Classifier, data: Data
) -> Part:
    """Walk from threes to fives; measure the classifier's confidence along every path."""
    start, end = find_pairs(config, data)
    paths = draw_paths(config, models, start, end, data.seed)
    rows = []
    summary: list[dict[str, Any]] = []
    lowest = {}
    for method, images in paths.items():
        chances = classify_paths(classifier, images)
        sure = chances.amax(2)
        others = 1 - chances[:, :, START] - chances[:, :, END]
        for i, share in enumerate(np.linspace(0, 1, config.num_steps)):
            rows.append(
                {
                    "method": method,
                    "share": round(float(share), 4),
                    **spread(sure[:, i], data.seed, "confidence"),
                    f"p_{START}": float(chances[:, i, START].mean()),
                    f"p_{END}": float(chances[:, i, END].mean()),
                    **spread(others[:, i], data.seed, "p_other"),
                }
            )
        lowest[method] = sure.amin(1)
        summary.append(
            {
                "method": method,
                **spread(lowest[method], data.seed, "lowest"),
                **spread(others.mean(1), data.seed, "p_other"),
                **spread(largest_step(images), data.seed, "largest_step"),
            }
        )
    for row in summary:
        if row["method"] != FADE:
            row |= spread(lowest[row["method"]] - lowest[FADE], data.seed, "lowest_change")
    against_ae = spread(lowest[VAE] - lowest[AE], data.seed, "change")
    against_vae = spread(lowest[DIFFUSEVAE] - lowest[FIRST_STAGE], data.seed, "change")
    return _report(
        config, pd.DataFrame(rows), pd.DataFrame(summary), against_ae, against_vae, paths
    )


def _report(
    config: InterpolationConfig,
    table: pd.DataFrame,
    summary: pd.DataFrame,
    against_ae: dict[str, float],
    against_vae: dict[str, float],
    paths: dict[str, Tensor],
) -> Part:
    rows = summary.set_index("method").to_dict("index")
    vae = rows[VAE]
    return fill_part(
        "interpolation",
        {"interpolation.png": _draw(table), "interpolation_images.png": _draw_paths(paths)},
        {"interpolation.csv": table, "interpolation_summary.csv": summary},
        start=START,
        end=END,
        num_pairs=config.num_pairs,
        rows=rows,
        against_ae=against_ae,
        against_vae=against_vae,
        surer_than_ae=judge(against_ae["change_low"] > 0, against_ae["change_high"] < 0),
        surer_than_fade=judge(vae["lowest_change_low"] > 0, vae["lowest_change_high"] < 0),
        surer_than_vae=judge(against_vae["change_low"] > 0, against_vae["change_high"] < 0),
    )


def _draw(table: pd.DataFrame) -> Figure:
    figure, grid = panels(1, 2, 3.7)
    for axes, name, title in zip(
        grid.flat,
        ("confidence", "p_other"),
        ("Confidence", f"Neither {START} nor {END}"),
        strict=True,
    ):
        for method, own in table.groupby("method", sort=False):
            colour = METHOD_COLOURS[method]
            axes.plot(own["share"], own[name], color=colour, label=method)
            axes.fill_between(
                own["share"],
                own[f"{name}_low"],
                own[f"{name}_high"],
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
        label_axes(axes, title, f"share of the {END}", "probability")
    grid[0, 1].set_ylabel("")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _draw_paths(paths: dict[str, Tensor], num_pairs: int = 2) -> Figure:
    columns = next(iter(paths.values())).shape[1]
    strips = [
        Strip(method, images[:num_pairs].flatten(0, 1), METHOD_COLOURS[method])
        for method, images in paths.items()
    ]
    return draw_strips(strips, columns)
