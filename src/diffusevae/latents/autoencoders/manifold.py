"""A VAE with a code of two numbers: the plane that it decodes, and where test images lie (C5)."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.core.params import Count, PositiveCount, Range
from diffusevae.data.dataset import to_unit
from diffusevae.figures.drawing import CLASS_COLOURS, Strip, draw_strips, label_axes, panels
from diffusevae.latents.autoencoders.networks import NetworkConfig, train_autoencoder
from diffusevae.latents.autoencoders.part import (
    FAMILY_COLOURS,
    PCA,
    VAE,
    Data,
    Part,
    Train,
    fill_part,
)
from diffusevae.latents.measures.evidence import judge, spread
from diffusevae.latents.models.autoencoder import apply
from diffusevae.latents.models.beta_vae import Reconstruction, VectorVAE, encode_images
from diffusevae.metrics.paired import mse
from diffusevae.models.codes import knn_accuracy
from diffusevae.models.pca import fit_pca

LATENTS = 2
NEIGHBOURS = 5


@dataclass(frozen=True)
class ManifoldConfig:
    """The VAE's loss, and how many images the grid has along each side.

    hidden and epochs take the place of the shared network's: a plane is bent more than many axes.
    """

    reconstruction: Reconstruction
    beta: Annotated[float, Range(0, 1000)]
    side: Annotated[int, Range(2, 40)]
    hidden: tuple[Annotated[int, Range(1, 4096)], ...]
    epochs: PositiveCount
    seed: Count


def grid_codes(side: int) -> Tensor:
    """Return the codes of a side x side grid, side^2 x 2, the top row first.

    Evenly spaced in probability: each number is the inverse of the normal distribution function at
    1/2side, 3/2side ... The first number grows to the right, the second upwards.
    """
    places = torch.special.ndtri((torch.arange(side, dtype=torch.float64) + 0.5) / side).float()
    return torch.stack([places.repeat(side), places.flip(0).repeat_interleave(side)], dim=1)


def study_manifold(
    config: ManifoldConfig, network: NetworkConfig, data: Data, train: Train
) -> Part:
    """Train it; compare error and separation of classes with PCA's first two numbers."""
    network = dataclasses.replace(network, hidden=config.hidden, epochs=config.epochs)
    model = train_autoencoder(
        VAE,
        network,
        LATENTS,
        data,
        config.seed,
        train,
        beta=config.beta,
        reconstruction=config.reconstruction,
    )
    test, real, labels = data.test.cpu(), to_unit(data.test.cpu()), data.labels.numpy()
    pca = fit_pca(data.train)
    linear_codes = ((real.flatten(1).double() - pca.mean) @ pca.axes[:, :LATENTS]).numpy()
    codes = encode_images(model, data.test)[0].numpy()
    linear = mse(real, pca.reconstruct(test, LATENTS))
    learned = mse(real, apply(model.reconstruct, data.test))
    rows = [
        {
            "model": PCA,
            **spread(linear, data.seed, "mse"),
            "class_accuracy": knn_accuracy(linear_codes, labels, NEIGHBOURS),
        },
        {
            "model": VAE,
            **spread(learned, data.seed, "mse"),
            **spread(learned - linear, data.seed, "mse_change"),
            "class_accuracy": knn_accuracy(codes, labels, NEIGHBOURS),
        },
    ]
    return _report(config, pd.DataFrame(rows), model, codes, linear_codes, labels)


def _report(
    config: ManifoldConfig,
    table: pd.DataFrame,
    model: VectorVAE,
    codes: np.ndarray,
    linear_codes: np.ndarray,
    labels: np.ndarray,
) -> Part:
    pca, vae = table.to_dict("records")
    device = next(model.parameters()).device
    images = apply(model.decode, grid_codes(config.side).to(device))
    strip = Strip("Images decoded from a grid of two-number codes", images, FAMILY_COLOURS[VAE])
    return fill_part(
        "manifold",
        {
            "manifold.png": draw_strips([strip], config.side),
            "scatter.png": _draw(codes, linear_codes, labels),
        },
        {"manifold.csv": table},
        side=config.side,
        neighbours=NEIGHBOURS,
        num_images=len(labels),
        seed=config.seed,
        pca=pca,
        vae=vae,
        verdict=judge(
            vae["mse_change_high"] < 0 and vae["class_accuracy"] > pca["class_accuracy"],
            vae["mse_change_low"] > 0,
        ),
    )


def _draw(codes: np.ndarray, linear_codes: np.ndarray, labels: np.ndarray) -> Figure:
    figure, grid = panels(1, 2, 3.9)
    for axes, points, name in zip(grid.flat, (codes, linear_codes), (VAE, PCA), strict=True):
        for label in np.unique(labels):
            own = points[labels == label]
            axes.scatter(
                own[:, 0],
                own[:, 1],
                s=5,
                alpha=0.7,
                linewidths=0,
                color=CLASS_COLOURS[label % len(CLASS_COLOURS)],
                label=str(label),
            )
        label_axes(axes, f"{name}: two numbers", "first number", "second number")
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=10,
        markerscale=3,
        handletextpad=0.1,
        columnspacing=0.8,
    )
    return figure
