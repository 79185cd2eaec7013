"""Fidelity and diversity over the weight of guidance, drawn, and images under each."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.figures.drawing import COLOURS, INK, MUTED, Strip, draw_strips, panels, reach_of
from diffusevae.metrics.metric import METRICS
from diffusevae.studies.guidance.guidance_study import (
    ALL_GUIDED,
    DDPM,
    DIFFUSEVAE,
    MEASURED,
    Guided,
)

LINES = dict(
    zip(
        (way.name for way in ALL_GUIDED),
        (COLOURS["ddpm"], COLOURS["diffusevae"], COLOURS["vae"], COLOURS["linear"], MUTED),
        strict=True,
    )
)
TITLES = {
    "frechet": f"{METRICS['frechet'].name} ↓",
    "precision": "Precision ↑",
    "recall": "Recall ↑",
    "recognised": "class recognised ↑",
}


def draw_sweep(table: pd.DataFrame) -> Figure:
    """Return each quantity over the weight, one line per way, with 95 % intervals."""
    figure, grid = panels(2, 2, 6.2, sharex=True)
    for axes, name in zip(grid.flat, MEASURED, strict=True):
        for way, rows in table.groupby("way", sort=False):
            axes.errorbar(
                rows["weight"],
                rows[name],
                yerr=reach_of(rows, name),
                color=LINES[way],
                marker="o",
                capsize=2,
                label=way,
            )
        used = table[table["registered"]]
        axes.plot(used["weight"], used[name], "o", color="none", markeredgecolor=INK, markersize=11)
        axes.set_title(TITLES[name])
    for axes in grid[-1]:
        axes.set_xlabel("weight w of guidance")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_classes(shown: Mapping[tuple[str, float], Tensor]) -> Figure:
    """Return an image of each class, under every weight, guided by the labels."""
    guided = {Guided(DDPM, "labels").name: "ddpm", Guided(DIFFUSEVAE, "labels").name: "diffusevae"}
    strips = [
        Strip(f"{way}, w = {weight:g}", images, COLOURS[guided[way]])
        for (way, weight), images in shown.items()
        if way in guided
    ]
    return draw_strips(strips, len(strips[0].images))
