"""The undercomplete autoencoder and the VAE against PCA with as many numbers (C1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffusevae.core.params import Count, PositiveCount, Range
from diffusevae.data.dataset import to_unit
from diffusevae.figures.drawing import COLOURS, Strip, draw_strips, label_axes, panels
from diffusevae.latents.autoencoders.networks import NetworkConfig, train_autoencoder
from diffusevae.latents.autoencoders.part import (
    FAMILY_COLOURS,
    KINDS,
    PCA,
    VAE,
    Data,
    Part,
    Train,
    fill_part,
)
from diffusevae.latents.measures.evidence import judge, spread
from diffusevae.latents.models.autoencoder import apply
from diffusevae.metrics.paired import mse
from diffusevae.models.pca import fit_pca

SHOWN = 10


@dataclass(frozen=True)
class UndercompleteConfig:
    """Sizes of the code, seeds of the trainings, and the VAE's beta (of a summed squared error)."""

    latents: tuple[PositiveCount, ...]
    seeds: tuple[Count, ...]
    beta: Annotated[float, Range(0, 1000)]

    def __post_init__(self) -> None:
        for name in ("latents", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}: expected one or more, each once")


def study_undercomplete(
    config: UndercompleteConfig, network: NetworkConfig, data: Data, train: Train
) -> Part:
    """Train both for every size and seed; compare test errors image by image with PCA's."""
    real, pca = to_unit(data.test.cpu()), fit_pca(data.train)
    rows, runs = [], []
    strips = [Strip("Real test images", real[:SHOWN], COLOURS["real"])]
    for latents in config.latents:
        restored = pca.reconstruct(data.test.cpu(), latents)
        linear = mse(real, restored).numpy()
        strips.append(Strip(f"{PCA} from {latents} numbers", restored[:SHOWN]))
        rows.append({"model": PCA, "numbers": latents} | spread(linear, data.seed, "mse"))
        runs.append({"model": PCA, "numbers": latents, "mse": linear.mean()})
        for kind in KINDS:
            errors = []
            for seed in config.seeds:
                beta = config.beta if kind == VAE else 0.0
                model = train_autoencoder(kind, network, latents, data, seed, train, beta=beta)
                restored = apply(model.reconstruct, data.test)
                errors.append(mse(real, restored).numpy())
                if seed == config.seeds[0]:
                    strips.append(
                        Strip(
                            f"{kind} from {latents} numbers", restored[:SHOWN], FAMILY_COLOURS[kind]
                        )
                    )
                runs.append(
                    {"model": kind, "numbers": latents, "seed": seed, "mse": errors[-1].mean()}
                )
            rows.append(
                {"model": kind, "numbers": latents, **compare_errors(errors, linear, data.seed)}
            )
    table, runs = pd.DataFrame(rows), pd.DataFrame(runs).astype({"seed": "Int64"})
    return _report(config, table, runs, strips, len(real))


def compare_errors(errors: Sequence[np.ndarray], linear: np.ndarray, seed: int) -> dict[str, float]:
    """Return mse and mse_change (less PCA's) with intervals, of the models of several seeds.

    An image's error is averaged over the seeds and the images are resampled; mse_worst is the
    change of the seed that comes off worst.
    """
    mean = np.mean(errors, axis=0)
    worst = max(float((error - linear).mean()) for error in errors)
    return (
        spread(mean, seed, "mse")
        | spread(mean - linear, seed, "mse_change")
        | {"mse_worst": worst, "num_seeds": len(errors)}
    )


def _report(
    config: UndercompleteConfig,
    table: pd.DataFrame,
    runs: pd.DataFrame,
    strips: list[Strip],
    num_images: int,
) -> Part:
    learned = table[table["model"] != PCA]
    better = bool((learned["mse_change_high"] < 0).all() and (learned["mse_worst"] < 0).all())
    worse = bool((learned["mse_change_low"] > 0).any())
    return fill_part(
        "undercomplete",
        {"undercomplete.png": _draw(runs), "undercomplete_images.png": draw_strips(strips, SHOWN)},
        {"undercomplete.csv": table, "undercomplete_runs.csv": runs},
        latents=config.latents,
        num_seeds=len(config.seeds),
        num_images=num_images,
        learned=learned.to_dict("records"),
        verdict=judge(better, worse),
    )


def _draw(runs: pd.DataFrame) -> Figure:
    figure, grid = panels(1, 1, 3.2)
    axes = grid[0, 0]
    for model, own in runs.groupby("model", sort=False):
        colour = FAMILY_COLOURS[model]
        axes.plot(own.groupby("numbers")["mse"].mean(), color=colour, label=model)
        axes.plot(own["numbers"], own["mse"], "o", color=colour, alpha=0.6)
    axes.set_xticks(sorted(runs["numbers"].unique()))
    axes.set_ylim(bottom=0)
    label_axes(
        axes,
        "Test error by size of the code (lower is better)",
        "numbers in the code",
        "mean squared error",
    )
    axes.legend()
    return figure
