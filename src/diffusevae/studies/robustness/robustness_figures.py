"""What became of damaged inputs, drawn: curves over the damage, and pictures."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.figures.drawing import COLOURS, INK, Strip, draw_strips, panels
from diffusevae.studies.robustness.damages import FOREIGN, RESTORABLE
from diffusevae.studies.robustness.robustness_study import (
    IMAGE,
    UNDAMAGED,
    X_HAT,
    Case,
    read_ladder,
)

TITLES = {IMAGE: "image {}", X_HAT: "x̂ {}"}
COLUMNS = 16


def draw_ladders(table: pd.DataFrame) -> Figure:
    """Return SSIM over the strength of each damage, of x_hat and of what DiffuseVAE made of it."""
    ladders = [(IMAGE, kind) for kind in RESTORABLE | FOREIGN] + [(X_HAT, k) for k in RESTORABLE]
    figure, grid = panels((len(ladders) + 1) // 2, 2, 9.6, sharey=True)
    for axes, (place, kind) in zip(grid.flat, ladders, strict=True):
        rows = read_ladder(table, place, kind)
        for name, label, colour in (
            ("x_hat_ssim", "x̂", COLOURS["vae"]),
            ("refined_ssim", "refined", COLOURS["diffusevae"]),
            ("followed", "refined, held against x̂", COLOURS["cosine"]),
        ):
            axes.plot(rows["strength"], rows[name], "o-", color=colour, label=label)
            axes.fill_between(
                rows["strength"],
                rows[f"{name}_low"],
                rows[f"{name}_high"],
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
        axes.set_title(TITLES[place].format(kind), color=INK)
        axes.set_xlabel((RESTORABLE | FOREIGN)[kind][0])
    for axes in grid[:, 0]:
        axes.set_ylabel("SSIM ↑")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw_cases(shown: Mapping[tuple[str, str], tuple[Case, Tensor]]) -> Figure:
    """Return the strongest damage of every kind: what was given, x_hat, and the refinements."""
    strips = []
    for (place, kind), (case, refined) in shown.items():
        what = "as they are" if kind == UNDAMAGED else f"{kind} {case.strength:g}"
        if place == IMAGE:
            strips.append(Strip(f"Images, {what}", case.given[:COLUMNS], COLOURS["real"]))
            strips.append(Strip("VAE: its reconstruction", case.x_hat[:COLUMNS], COLOURS["vae"]))
        else:
            strips.append(Strip(f"x̂, {what}", case.x_hat[:COLUMNS], COLOURS["vae"]))
        strips.append(Strip("DiffuseVAE: refined", refined[:COLUMNS], COLOURS["diffusevae"]))
    return draw_strips(strips, COLUMNS)
