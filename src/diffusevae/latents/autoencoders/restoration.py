"""Autoencoders that restore: denoising (C2) and super-resolution (C3).

Each is compared with the classical methods of scipy and torch, every one of them at the setting
that is best for the validation images at that level and for that metric.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.core.params import Count, PositiveCount, Range
from diffusevae.core.randomness import generator
from diffusevae.data.dataset import to_unit
from diffusevae.figures.drawing import (
    COLOURS,
    INK,
    MUTED,
    Strip,
    draw_strips,
    label_axes,
    panels,
    reach_of,
)
from diffusevae.latents.autoencoders.part import AE, FAMILY_COLOURS, Data, Part, Train, fill_part
from diffusevae.latents.autoencoders.restored import best_rival, compare_restored
from diffusevae.latents.measures.evidence import judge
from diffusevae.latents.models.autoencoder import apply, fit_pairs, squared_error
from diffusevae.latents.models.restorer import Restorer
from diffusevae.metrics.classical import (
    FILTERS,
    MEASURED,
    add_noise,
    choose_setting,
    enlarge,
    filter_images,
    shrink,
)
from diffusevae.metrics.labels import describe_direction
from diffusevae.metrics.metric import METRICS
from diffusevae.training.loop import OptimiserConfig

SHOWN = 10
AXES = {"noise": "standard deviation of the noise", "factor": "enlarged by"}
METHOD_COLOURS = {
    "Gaussian filter": COLOURS["vae"],
    "median filter": COLOURS["diffusevae"],
    "Wiener filter": COLOURS["linear"],
    "nothing": MUTED,
    AE: FAMILY_COLOURS[AE],
    "bilinear": COLOURS["vae"],
    "bicubic": COLOURS["diffusevae"],
}


@dataclass(frozen=True)
class RestorationConfig:
    """Noise levels (standard deviation; pixels lie in [0, 1]), factors, and the trainings.

    One network learns all noise levels up to the highest, and one each factor. channels: widths of
    the network, at full size and after each halving.
    """

    noise_levels: tuple[Annotated[float, Range(0.001, 10)], ...]
    factors: tuple[Annotated[int, Range(2, 8)], ...]
    channels: tuple[Annotated[int, Range(1, 1024)], ...]
    denoising_epochs: PositiveCount
    super_resolution_epochs: PositiveCount
    optimiser: OptimiserConfig
    num_settings_images: PositiveCount
    seed: Count

    def __post_init__(self) -> None:
        for name, least in (("noise_levels", 1), ("factors", 1), ("channels", 2)):
            if len(getattr(self, name)) < least:
                raise ValueError(f"{name}: expected {least} or more")


def train_restorer(
    name: str,
    facts: dict[str, object],
    config: RestorationConfig,
    epochs: int,
    damage: Callable[[Tensor, torch.Generator], Tensor],
    data: Data,
    train: Train,
) -> Restorer:
    """Return a network trained to undo `damage`, which it sees anew in every epoch."""

    def pairs(part: str, indices: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        x = to_unit((data.train if part == "train" else data.validation)[indices])
        return damage(x, rng), x

    torch.manual_seed(config.seed)  # initial weights
    model = Restorer(config.channels, data.train.shape[1]).to(data.train.device)
    counts = len(data.train), len(data.validation)
    return train(
        name,
        facts,
        partial(
            fit_pairs, model, config.optimiser, epochs, config.seed, counts, pairs, squared_error
        ),
    )


def study_denoising(config: RestorationConfig, data: Data, train: Train) -> Part:
    """Train one network for all noise levels; compare it with classical filters at each."""
    highest = max(config.noise_levels)

    def damage(x: Tensor, rng: torch.Generator) -> Tensor:
        levels = highest * torch.rand(len(x), 1, 1, 1, generator=rng, device=x.device)
        return add_noise(x, levels, rng)

    facts = {"kind": "denoising", "highest_noise": highest, "seed": config.seed}
    network = train_restorer(
        "denoising", facts, config, config.denoising_epochs, damage, data, train
    )
    real, known = (to_unit(part.cpu()) for part in (data.test, data.validation))
    known = known[: config.num_settings_images]
    rows, strips = [], [Strip("Real test images", real[:SHOWN], COLOURS["real"])]
    for noise in config.noise_levels:
        noisy, known_noisy = (
            add_noise(x, noise, generator(data.seed, "noise", part, str(noise)))
            for part, x in (("test", real), ("validation", known))
        )
        learned = apply(network.restore, noisy.to(data.test.device))
        restored: dict[str, dict[str, tuple[float, Tensor]]] = {}
        for metric in MEASURED:
            restored[metric] = {AE: (noise, learned)}
            for method in FILTERS:
                setting = choose_setting(known, known_noisy, method, noise, metric)
                restored[metric][method] = (setting, filter_images(noisy, method, setting, noise))
        rows += compare_restored(real, restored, data.seed, {"noise": noise})
        best = best_rival(pd.DataFrame(rows), {"noise": noise}, "mse")
        strips += [
            Strip(f"Noise {noise:g}", noisy[:SHOWN].clamp(0, 1), MUTED),
            Strip(
                f"the best classical method: {best['method']}",
                restored["mse"][best["method"]][1][:SHOWN],
                INK,
            ),
            Strip("denoising autoencoder", learned[:SHOWN], FAMILY_COLOURS[AE]),
        ]
    return _report("denoising", "noise", pd.DataFrame(rows), strips, len(real), config.seed)


def study_super_resolution(config: RestorationConfig, data: Data, train: Train) -> Part:
    """Train a network for each factor; compare it with bilinear and bicubic enlargement."""
    real = to_unit(data.test.cpu())
    rows, strips = [], [Strip("Real test images", real[:SHOWN], COLOURS["real"])]
    for factor in config.factors:
        # The network gets what bicubic enlargement makes of the small image (Dong et al., 2014).
        def damage(x: Tensor, _=None, factor: int = factor) -> Tensor:
            return enlarge(shrink(x, factor), factor, "bicubic")

        facts = {"kind": "super_resolution", "factor": factor, "seed": config.seed}
        network = train_restorer(
            f"super_resolution-{factor}",
            facts,
            config,
            config.super_resolution_epochs,
            damage,
            data,
            train,
        )
        learned = apply(network.restore, damage(real).to(data.test.device))
        small = shrink(real, factor)
        methods: dict[str, tuple[float, Tensor]] = {AE: (factor, learned)}
        methods |= {
            mode: (factor, enlarge(small, factor, mode)) for mode in ("bilinear", "bicubic")
        }
        rows += compare_restored(
            real, dict.fromkeys(MEASURED, methods), data.seed, {"factor": factor}
        )
        pixels = F.interpolate(small[:SHOWN], scale_factor=factor, mode="nearest")
        strips += [
            Strip(f"The pixels of a small image, to be enlarged x {factor}", pixels, MUTED),
            Strip("bicubic", methods["bicubic"][1][:SHOWN], INK),
            Strip("super-resolution autoencoder", learned[:SHOWN], FAMILY_COLOURS[AE]),
        ]
    table = pd.DataFrame(rows)
    return _report("super_resolution", "factor", table, strips, len(real), config.seed)


def _report(
    file: str, level: str, table: pd.DataFrame, strips: list[Strip], num_images: int, seed: int
) -> Part:
    better, worse, best_by_mse = [], [], []
    for value in table[level].unique():
        for metric in MEASURED:
            best = best_rival(table, {level: value}, metric)
            lower = METRICS[metric].better == "lower"
            ends = (best["change_low"], best["change_high"])
            better.append(ends[1] < 0 if lower else ends[0] > 0)
            worse.append(ends[0] > 0 if lower else ends[1] < 0)
            if metric == "mse":
                best_by_mse.append(best)
    return fill_part(
        "restoration",
        {f"{file}.png": _draw(table, level), f"{file}_images.png": draw_strips(strips, SHOWN)},
        {f"{file}.csv": table},
        file=file,
        level=level,
        best_by_mse=best_by_mse,
        num_images=num_images,
        seed=seed,
        verdict=judge(all(better), any(worse)),
    )


def _draw(table: pd.DataFrame, level: str) -> Figure:
    figure, grid = panels(1, len(MEASURED), 3.6)
    for axes, metric in zip(grid.flat, MEASURED, strict=True):
        for method, own in table[table["metric"] == metric].groupby("method", sort=False):
            axes.errorbar(
                own[level],
                own["value"],
                yerr=reach_of(own, "value"),
                fmt="o-",
                capsize=3,
                color=METHOD_COLOURS[method],
                label=method,
                linewidth=2.5 if method == AE else 1.5,
            )
        axes.set_xticks(table[level].unique())
        if metric == "mse":
            axes.set_yscale("log")
        better = describe_direction(METRICS[metric].better)
        label_axes(axes, f"{METRICS[metric].name} {better}", AXES[level])
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
