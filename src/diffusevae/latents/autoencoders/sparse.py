"""The sparse autoencoder: squared error + lambda sum |a_i| over the numbers a of the code (C6)."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.core.params import Count, PositiveCount, Range
from diffusevae.data.dataset import to_unit
from diffusevae.figures.drawing import COLOURS, Strip, draw_strips, label_axes, panels, reach_of
from diffusevae.latents.autoencoders.networks import Loss, NetworkConfig, train_with_loss
from diffusevae.latents.autoencoders.part import AE, FAMILY_COLOURS, Data, Part, Train, fill_part
from diffusevae.latents.measures.evidence import judge, spread
from diffusevae.latents.models.autoencoder import apply
from diffusevae.latents.models.beta_vae import VectorVAE, reconstruction_error
from diffusevae.metrics.paired import mse
from diffusevae.training.loop import Losses

NEAR_ZERO = 0.01
SHOWN = 10


@dataclass(frozen=True)
class SparseConfig:
    """Numbers of the code, and the lambdas to try, rising; the first is the one to compare with."""

    latents: PositiveCount
    penalties: tuple[Annotated[float, Range(0, 1000)], ...]
    seed: Count

    def __post_init__(self) -> None:
        if len(self.penalties) < 2 or list(self.penalties) != sorted(set(self.penalties)):
            raise ValueError("penalties: expected two or more, rising")


def sparse_code(model: VectorVAE, x: Tensor) -> Tensor:
    """Return a = ReLU(mu(x)), B x latents: numbers that can be exactly zero."""
    return torch.relu(model.encode(x)[0])


def restore(model: VectorVAE, x: Tensor) -> Tensor:
    """Return the images in [0, 1] that the model makes of their sparse codes."""
    return model.decode(sparse_code(model, x))


def make_sparse_loss(penalty: float) -> Loss:
    """Return the loss with that lambda, mean over the images; it takes no noise."""

    def loss(model: VectorVAE, x: Tensor, eps: Tensor) -> Losses:
        code = sparse_code(model, x)
        error = reconstruction_error(model.decoder(code), x, model.config.reconstruction)
        return {"loss": (error + penalty * code.abs().sum(1)).mean()}

    return loss


def study_sparse(config: SparseConfig, network: NetworkConfig, data: Data, train: Train) -> Part:
    """Train one for each lambda; measure how sparse the codes of test images are, and the error."""
    real = to_unit(data.test.cpu())
    rows, strips = [], [Strip("Real test images", real[:SHOWN], COLOURS["real"])]
    for penalty in config.penalties:
        facts = {
            "kind": "sparse",
            "latents": config.latents,
            "penalty": penalty,
            "seed": config.seed,
        }
        model = train_with_loss(
            f"sparse-{penalty:g}",
            facts,
            network,
            make_sparse_loss(penalty),
            config.latents,
            data,
            config.seed,
            train,
        )
        code = apply(partial(sparse_code, model), data.test)
        restored = apply(partial(restore, model), data.test)
        used = code.abs() >= NEAR_ZERO
        rows.append(
            {
                "lambda": penalty,
                **spread((~used).double().mean(1), data.seed, "near_zero"),
                **spread(code.abs().double().mean(1), data.seed, "mean_abs"),
                "never_used": float((~used.any(0)).double().mean()),
                **spread(mse(real, restored), data.seed, "mse"),
            }
        )
        strips.append(
            Strip(
                f"lambda {penalty:g}: {used.double().sum(1).mean():.0f} of "
                f"{config.latents} numbers used for an image",
                restored[:SHOWN],
                FAMILY_COLOURS[AE],
            )
        )
    return _report(config, pd.DataFrame(rows), strips, len(real))


def _report(
    config: SparseConfig, table: pd.DataFrame, strips: list[Strip], num_images: int
) -> Part:
    first, last = table.iloc[0], table.iloc[-1]
    sparser = bool(last["near_zero_low"] > first["near_zero_high"])
    dearer = bool(last["mse_low"] > first["mse_high"])
    return fill_part(
        "sparse",
        {"sparse.png": _draw(table), "sparse_images.png": draw_strips(strips, SHOWN)},
        {"sparse.csv": table},
        latents=config.latents,
        near_zero=NEAR_ZERO,
        num_images=num_images,
        seed=config.seed,
        first=first,
        last=last,
        verdict=judge(sparser and dearer, not sparser),
    )


def _draw(table: pd.DataFrame) -> Figure:
    figure, grid = panels(1, 2, 3.2, sharey=True)
    colour, reach = FAMILY_COLOURS[AE], reach_of(table, "mse")
    for axes, name, x in zip(
        grid.flat,
        ("near_zero", "mean_abs"),
        ("share of the code near zero", "mean |a|"),
        strict=True,
    ):
        axes.errorbar(table[name], table["mse"], yerr=reach, fmt="o-", color=colour, capsize=3)
        for row in table.to_dict("records"):
            axes.annotate(
                f"{row['lambda']:g}",
                (row[name], row["mse"]),
                (6, 6),
                textcoords="offset points",
                fontsize=10,
            )
        axes.margins(x=0.15, y=0.15)
        label_axes(axes, x=x)
    label_axes(
        grid[0, 0],
        "Squared error; labels: lambda",
        "share of the code near zero",
        "mean squared error",
    )
    return figure
