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
from diffusevae.figures.drawing import COLOURS, MUTED, Strip, draw_strips, label_axes, panels
from diffusevae.latents.autoencoders.part import (
    AE,
    COURSE,
    FAMILY_COLOURS,
    VAE,
    Data,
    Part,
    headline,
)
from diffusevae.latents.measures.evidence import describe, judge, spread
from diffusevae.latents.models.autoencoder import apply
from diffusevae.latents.models.beta_vae import VectorVAE, encode_images
from diffusevae.latents.page.chapter import Claim, Headline, Picture, Table
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
    own, blind = rows[f"{VAE}, {STANDARD}"], rows[f"{AE}, {STANDARD}"]
    box, fitted = rows[f"{AE}, {BOX}"], rows[f"{AE}, {GAUSSIAN}"]
    of = f"{count} decoded codes against {count} test images, 95 % interval"
    evidence = "; ".join(
        f"{way}: Fréchet distance {describe(row, 'frechet', 1)}, confidence "
        f"{describe(row, 'confidence', 3)}"
        for way, row in rows.items()
    )
    worse = min(blind["frechet_low"], box["frechet_low"])
    return Part(
        summary=(
            f"Codes drawn at random: from N(0, I) the VAE's images are {own['frechet']:.0f} "
            f"from real ones (Fréchet distance on the classifier's features), the "
            f"autoencoder's {blind['frechet']:.0f}, from the box of its codes "
            f"{box['frechet']:.0f}, from a Gaussian fitted to them "
            f"{fitted['frechet']:.0f}; real training images "
            f"{rows[REAL]['frechet']:.0f}.",
        ),
        headlines=(
            headline(f"Fréchet distance of {VAE}, {STANDARD}", own, "frechet", of),
            Headline(
                f"Fréchet distance of {AE}, {STANDARD}",
                blind["frechet"],
                blind["frechet_low"],
                blind["frechet_high"],
                of,
            ),
        ),
        claims=(
            Claim(
                "Codes drawn at random decode to nonsense in an autoencoder, to digits in a VAE",
                COURSE,
                judge(
                    own["frechet_high"] < worse,
                    own["frechet_low"] > min(blind["frechet_high"], box["frechet_high"]),
                ),
                f"{evidence}; {of}",
            ),
            Claim(
                "An autoencoder cannot be sampled even where its codes' Gaussian is fitted",
                COURSE,
                judge(
                    own["frechet_high"] < fitted["frechet_low"],
                    own["frechet_low"] > fitted["frechet_high"],
                ),
                f"Fréchet distance {describe(fitted, 'frechet', 1)} against "
                f"{describe(own, 'frechet', 1)} for the VAE from N(0, I); {of}",
            ),
        ),
        pictures=(
            (
                Picture(
                    "holes.png",
                    "Random codes, decoded",
                    "Fréchet distance to real test images (left, lower is better) and the "
                    "classifier's confidence (right), 95 % intervals.",
                ),
                _draw(table),
            ),
            (
                Picture(
                    "holes_images.png",
                    "What random codes decode to",
                    "Not chosen: the first images of each way to draw a code.",
                ),
                draw_strips(
                    [Strip(way, made[:SHOWN], _colour(way)) for way, made in images.items()],
                    COLUMNS,
                ),
            ),
        ),
        tables=(
            (
                Table(
                    "holes.csv",
                    "Random codes, decoded",
                    "Fréchet distance on the classifier's features and the mean of its largest "
                    "probability, with 95 % intervals. N(0, I): standard normal codes; a "
                    "fitted Gaussian: with mean and covariance of the training images' codes; "
                    "the box: each number uniform between its least and greatest there.",
                ),
                table,
            ),
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
        bars = [table[name] - table[f"{name}_low"], table[f"{name}_high"] - table[name]]
        axes.barh(names, table[name], xerr=bars, color=colours, capsize=3, ecolor=MUTED, height=0.6)
        axes.grid(axis="y", visible=False)
        label_axes(axes, title)
    grid[0, 0].invert_yaxis()
    return figure
