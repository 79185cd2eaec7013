"""Restored images drawn: their errors beside the best classical method's, and pictures."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.figures.drawing import COLOURS, INK, MUTED, Strip, draw_strips, panels
from diffusevae.studies.restoration.restoration_study import DENOISING, INPAINTING, Restoration
from diffusevae.studies.restoration.restored import (
    DDPM_ESTIMATE,
    DDPM_ONE_STEP,
    DDPM_POSTERIOR,
    DDPM_REPAINT,
    DIFFUSEVAE_ESTIMATE,
    DIFFUSEVAE_ONE_STEP,
    DIFFUSEVAE_REPAINT,
    VAE_CODES,
)

COLUMNS = 10
# The method shown of each model, and the marks of all; some are of one task only.
SHOWN = {
    INPAINTING: {VAE_CODES: "vae", DDPM_REPAINT: "ddpm", DIFFUSEVAE_ESTIMATE: "diffusevae"},
    DENOISING: {VAE_CODES: "vae", DDPM_ONE_STEP: "ddpm", DIFFUSEVAE_ONE_STEP: "diffusevae"},
}
MARKS = {
    VAE_CODES: ("vae", "o"),
    DDPM_REPAINT: ("ddpm", "o"),
    DDPM_ESTIMATE: ("ddpm", "D"),
    DDPM_ONE_STEP: ("ddpm", "s"),
    DDPM_POSTERIOR: ("ddpm", "^"),
    DIFFUSEVAE_REPAINT: ("diffusevae", "o"),
    DIFFUSEVAE_ESTIMATE: ("diffusevae", "D"),
    DIFFUSEVAE_ONE_STEP: ("diffusevae", "s"),
}


def draw_errors(table: pd.DataFrame) -> Figure:
    """Return how far each model's error lies from the best classical method's, by damage."""
    figure, grid = panels(2, 1, 7.6)
    for axes, (task, rows) in zip(grid.flat, table.groupby("task", sort=False), strict=True):
        kinds = list(rows["kind"].unique())
        for number, (method, (model, mark)) in enumerate(MARKS.items()):
            mine = rows[rows["method"] == method]
            rival = (mine["mse"] - mine["less_rival"]) / 100
            low, value, high = (
                mine[column] / rival
                for column in ("less_rival_low", "less_rival", "less_rival_high")
            )
            axes.errorbar(
                value,
                [kinds.index(kind) + 0.1 * (number - 3.5) for kind in mine["kind"]],
                xerr=[value - low, high - value],
                fmt=mark,
                color=COLOURS[model],
                label=method if len(mine) else None,
                capsize=3,
            )
        axes.axvline(0, color=MUTED)
        axes.set_yticks(range(len(kinds)), kinds)
        axes.invert_yaxis()
        axes.set_title(task, color=INK)
        axes.set_xlabel("squared error against the best classical method, % ↓")
        axes.legend(fontsize=8)
    return figure


def draw_cases(cases: Sequence[Restoration], table: pd.DataFrame, real: Tensor) -> Figure:
    """Return of every case what was given, the best classical method's images, and the models'."""
    strips = [Strip("Test images", real[:COLUMNS], COLOURS["real"])]
    for case in cases:
        rival = table[(table["task"] == case.task) & (table["kind"] == case.kind)]["rival"].iloc[0]
        strips.append(Strip(f"Given: {case.kind}", case.given[:COLUMNS], MUTED))
        strips.append(Strip(rival, case.restored[rival].images[:COLUMNS], INK))
        for method, model in SHOWN[case.task].items():
            restored = case.restored[method].images[:COLUMNS]
            strips.append(Strip(method, restored, COLOURS[model]))
    return draw_strips(strips, COLUMNS)
