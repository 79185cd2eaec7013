"""The same autoencoder trained on three losses, each judged by all three and by SSIM (C10)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.core.params import Count, PositiveCount
from diffusevae.data.dataset import to_unit
from diffusevae.figures.drawing import CLASS_COLOURS, COLOURS, Strip, draw_strips, panels, reach_of
from diffusevae.latents.autoencoders.networks import NetworkConfig, train_autoencoder
from diffusevae.latents.autoencoders.part import AE, Data, Part, Train, fill_part
from diffusevae.latents.measures.evidence import judge, spread
from diffusevae.latents.models.autoencoder import apply
from diffusevae.latents.models.beta_vae import Reconstruction
from diffusevae.metrics.labels import describe_direction
from diffusevae.metrics.paired import mae, mse, ssim

LOSSES: tuple[Reconstruction, ...] = ("mse", "bce", "l1")
NAMES = {"mse": "MSE", "bce": "BCE", "l1": "L1", "ssim": "SSIM"}
SHOWN = 10


@dataclass(frozen=True)
class LossesConfig:
    """Numbers of the code, and the seeds of the trainings (of each loss)."""

    latents: PositiveCount
    seeds: tuple[Count, ...]

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: expected one or more, each once")


def cross_entropy(restored: Tensor, real: Tensor) -> Tensor:
    """Return the binary cross-entropy of each image in [0, 1], in nats per pixel: B."""
    return F.binary_cross_entropy(restored, real, reduction="none").flatten(1).mean(1)


MEASURED = {"mse": mse, "bce": cross_entropy, "l1": mae, "ssim": ssim}


def study_losses(config: LossesConfig, network: NetworkConfig, data: Data, train: Train) -> Part:
    """Train with each loss and seed; measure test images, averaged over the seeds."""
    real = to_unit(data.test.cpu())
    values: dict[str, dict[str, np.ndarray]] = {}
    strips = [Strip("Real test images", real[:SHOWN], COLOURS["real"])]
    for i, loss in enumerate(LOSSES):
        found: dict[str, list[np.ndarray]] = {name: [] for name in MEASURED}
        for seed in config.seeds:
            model = train_autoencoder(
                AE, network, config.latents, data, seed, train, reconstruction=loss
            )
            restored = apply(model.reconstruct, data.test)
            for name, measure in MEASURED.items():
                found[name].append(measure(restored, real).double().numpy())
            if seed == config.seeds[0]:
                strips.append(
                    Strip(f"trained on {NAMES[loss]}", restored[:SHOWN], CLASS_COLOURS[i])
                )
        values[loss] = {name: np.mean(each, axis=0) for name, each in found.items()}
    rows = [
        {"trained_on": loss}
        | {
            key: value
            for name, own in measured.items()
            for key, value in spread(own, data.seed, name).items()
        }
        for loss, measured in values.items()
    ]
    return _report(config, pd.DataFrame(rows), values, strips, data.seed)


def _report(
    config: LossesConfig,
    table: pd.DataFrame,
    values: dict[str, dict[str, np.ndarray]],
    strips: list[Strip],
    seed: int,
) -> Part:
    by_own_measure = _compare_by_own_measure(values, seed)
    rival = max(
        (loss for loss in LOSSES if loss != "l1"), key=lambda loss: values[loss]["ssim"].mean()
    )
    sharper = spread(values["l1"]["ssim"] - values[rival]["ssim"], seed, "change")
    return fill_part(
        "losses",
        {"losses.png": _draw(table), "losses_images.png": draw_strips(strips, SHOWN)},
        {"losses.csv": table},
        latents=config.latents,
        num_images=len(values["mse"]["mse"]),
        num_seeds=len(config.seeds),
        names=NAMES,
        sharpest=table.loc[table["ssim"].idxmax()],
        rival=rival,
        sharper=sharper,
        by_own_measure=by_own_measure,
        wins=judge(
            all(one["change_high"] < 0 for one in by_own_measure),
            any(one["change_low"] > 0 for one in by_own_measure),
        ),
        l1_is_sharper=judge(sharper["change_low"] > 0, sharper["change_high"] < 0),
    )


def _compare_by_own_measure(
    values: dict[str, dict[str, np.ndarray]], seed: int
) -> list[dict[str, Any]]:
    """Return each loss, the best of the others by its measure, and what it changes to that one."""
    rows = []
    for loss in LOSSES:
        others = {other: values[other][loss].mean() for other in LOSSES if other != loss}
        best = min(others, key=others.__getitem__)
        change = spread(values[loss][loss] - values[best][loss], seed, "change")
        rows.append({"loss": loss, "best": best, **change})
    return rows


def _draw(table: pd.DataFrame) -> Figure:
    figure, grid = panels(2, 2, 3.6, sharey=True)
    names = [NAMES[loss] for loss in table["trained_on"]]
    for axes, name in zip(grid.flat, MEASURED, strict=True):
        bars = np.stack(reach_of(table, name))
        for i, loss in enumerate(names):
            axes.errorbar(
                table[name][i],
                loss,
                xerr=bars[:, i : i + 1],
                fmt="o",
                capsize=4,
                color=CLASS_COLOURS[i],
            )
        axes.margins(y=0.3)
        axes.invert_yaxis() if name == "mse" else None
        better = "higher" if name == "ssim" else "lower"
        axes.set_title(f"{NAMES[name]} {describe_direction(better)}")
    for axes in grid[:, 0]:
        axes.set_ylabel("trained on")
    return figure
