"""Codes drawn at random and decoded: an autoencoder's holes, and a VAE's completeness (C9)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from diffusevae.core.params import Range
from diffusevae.core.randomness import generator
from diffusevae.data.dataset import to_unit
from diffusevae.figures.drawing import (
    COLOURS,
    Strip,
    draw_interval_bars,
    draw_strips,
    label_axes,
    panels,
)
from diffusevae.latents.autoencoders.part import AE, FAMILY_COLOURS, VAE, Data, Part, fill_part
from diffusevae.latents.measures.evidence import judge, spread
from diffusevae.latents.models.autoencoder import apply
from diffusevae.latents.models.beta_vae import VectorVAE, encode_images
from diffusevae.metrics.frechet_intervals import frechet_interval
from diffusevae.models.classifier import Classifier

STANDARD, GAUSSIAN, BOX = "N(0, I)", "a fitted Gaussian", "the box of all codes"
REAL = "real training images (the floor)"
SHOWN = 20
COLUMNS = 10


@dataclass(frozen=True)
class HolesConfig:
    """How many images are drawn in each way; as many real test images are their measure."""

    num_images: Annotated[int, Range(4, 100_000)]


def draw_codes(codes: Tensor, how: str, count: int, rng: Generator) -> Tensor:
    """Return `count` new codes, like the codes (N x D, CPU) of training images or N(0, I)."""
    if how == BOX:
        low, high = codes.amin(0), codes.amax(0)
        return low + (high - low) * torch.rand(count, codes.shape[1], generator=rng)
    drawn = torch.randn(count, codes.shape[1], generator=rng, dtype=torch.float64)
    if how == GAUSSIAN:
        # The root of the covariance; of numbers that never vary it is 0, not undefined.
        values, vectors = torch.linalg.eigh(torch.cov(codes.double().T))
        drawn = drawn @ (vectors * values.clamp_min(0).sqrt()).T + codes.double().mean(0)
    return drawn.float()


def study_holes(
    config: HolesConfig, ae: VectorVAE, vae: VectorVAE, classifier: Classifier, data: Data
) -> Part:
    """Decode codes drawn in every way from both models; measure how much like digits they are."""
    device = data.train.device
    count = min(config.num_images, len(data.test), len(data.train))
    images = {REAL: to_unit(data.train[:count].cpu())}
    for kind, model in ((AE, ae), (VAE, vae)):
        codes = encode_images(model, data.train)[0]
        for how in (STANDARD, GAUSSIAN, BOX):
            new = draw_codes(codes, how, count, generator(data.seed, "holes", kind, how))
            images[f"{kind}, {how}"] = apply(model.decode, new.to(device))
    real = _features(classifier, to_unit(data.test[:count].cpu()), device)
    rows = []
    for way, made in images.items():
        found = frechet_interval(real, _features(classifier, made, device))
        sure = apply(classifier, made.to(device)).softmax(1).amax(1)
        rows.append(
            {
                "images": way,
                **spread(sure, data.seed, "confidence"),
                "frechet": found["value"],
                "frechet_low": found["low"],
                "frechet_high": found["high"],
            }
        )
    return _report(pd.DataFrame(rows), images, count)


def _features(classifier: Classifier, images: Tensor, device: torch.device) -> np.ndarray:
    return apply(classifier.features, images.to(device)).double().numpy()


def _report(table: pd.DataFrame, images: Mapping[str, Tensor], count: int) -> Part:
    rows = table.set_index("images").to_dict("index")
    vae, ae = rows[f"{VAE}, {STANDARD}"], rows[f"{AE}, {STANDARD}"]
    box, fitted = rows[f"{AE}, {BOX}"], rows[f"{AE}, {GAUSSIAN}"]
    strips = [Strip(way, made[:SHOWN], _colour(way)) for way, made in images.items()]
    return fill_part(
        "holes",
        {"holes.png": _draw(table), "holes_images.png": draw_strips(strips, COLUMNS)},
        {"holes.csv": table},
        count=count,
        rows=rows,
        real=rows[REAL],
        vae=vae,
        ae=ae,
        ae_box=box,
        ae_fitted=fitted,
        complete=judge(
            vae["frechet_high"] < min(ae["frechet_low"], box["frechet_low"]),
            vae["frechet_low"] > min(ae["frechet_high"], box["frechet_high"]),
        ),
        better_than_fitted=judge(
            vae["frechet_high"] < fitted["frechet_low"], vae["frechet_low"] > fitted["frechet_high"]
        ),
    )


def _colour(way: str) -> str:
    return COLOURS["real"] if way == REAL else FAMILY_COLOURS[way.split(",")[0]]


def _draw(table: pd.DataFrame) -> Figure:
    figure, grid = panels(1, 2, 3.2, sharey=True)
    colours = [_colour(way) for way in table["images"]]
    names = [way.split(" (")[0] if way == REAL else way for way in table["images"]]
    for axes, name, title in zip(
        grid.flat, ("frechet", "confidence"), ("Fréchet distance ↓", "Confidence"), strict=True
    ):
        draw_interval_bars(axes, names, table, name, colours)
        label_axes(axes, title)
    grid[0, 0].invert_yaxis()
    return figure
