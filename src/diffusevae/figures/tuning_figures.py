"""Figures of an Optuna study: its history, which parameters mattered, and a slice along each."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffusevae.figures.drawing import COLOURS, INK, MUTED, label_axes, panels

MOST_CHOICES = 6  # more different whole numbers than this are drawn as a scale
LOG_RATIO = 10  # a range of positive values from this factor on is drawn logarithmically


def parameters_of(trials: pd.DataFrame) -> list[str]:
    """Return the names "section.key" of the parameters that were tried."""
    return [name for name in trials.columns if "." in name]


def draw_history(trials: pd.DataFrame, colour: str) -> Figure:
    """Return each trial's value by its number, pruned ones hollow, and the best so far."""
    figure, ((axes,),) = panels(1, 1, 2.9)
    completed = trials[trials["state"] == "complete"]
    _scatter_trials(axes, trials, trials["number"], colour)
    axes.step(
        completed["number"],
        completed["value"].cummin(),
        where="post",
        color=INK,
        linewidth=1.5,
        label="best so far",
    )
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.legend()
    label_axes(axes, "", "trial", "objective ↓")
    return figure


def draw_importances(importances: pd.DataFrame, colour: str) -> Figure:
    """Return the share of the objective's variance that each parameter explains, as bars."""
    ordered = importances.sort_values("importance", kind="stable")
    figure, ((axes,),) = panels(1, 1, 0.5 + 0.55 * len(ordered))
    names = ordered["name"].str.replace(".", ".\n")
    bars = axes.barh(names, ordered["importance"], color=colour, height=0.6)
    axes.bar_label(bars, [f"{share:.0%}" for share in ordered["importance"]], padding=4, color=INK)
    axes.set_xlim(0, 1.12)
    axes.set_xticks([])
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure


def draw_slices(trials: pd.DataFrame, colour: str) -> Figure:
    """Return the trials' value along each parameter, two plots to a row."""
    names = parameters_of(trials)
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure, grid = panels(rows, columns, 2.7 * rows, sharey=True)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for i, (axes, name) in enumerate(zip(grid.flat, names, strict=False)):
        known = trials[trials[name].notna()]  # absent where another parameter rules it out
        _scatter_trials(axes, known, _place(axes, known[name]), colour)
        label_axes(axes, name.replace(".", ".\n"), "", "objective ↓" if i % columns == 0 else "")
    return figure


def _scatter_trials(axes: Axes, trials: pd.DataFrame, x: pd.Series, colour: str) -> None:
    complete = trials["state"] == "complete"
    axes.scatter(
        x[complete], trials["value"][complete], s=42, color=colour, label="complete", zorder=3
    )
    if not complete.all():
        axes.scatter(
            x[~complete],
            trials["value"][~complete],
            s=42,
            facecolors="white",
            edgecolors=MUTED,
            label="pruned",
            zorder=3,
        )


def _place(axes: Axes, values: pd.Series) -> pd.Series:
    """Return where values stand on the x axis, whose scale is set to fit them."""
    choices = sorted(values.unique())
    are_names = any(isinstance(choice, str) for choice in choices)
    few = len(choices) <= MOST_CHOICES
    if are_names or few and all(float(choice).is_integer() for choice in choices):
        texts = [c if isinstance(c, str) else f"{c:g}" for c in choices]
        axes.set_xticks(range(len(choices)), texts)
        axes.set_xlim(-0.5, len(choices) - 0.5)
        return values.map(choices.index)
    if values.min() > 0 and values.max() >= LOG_RATIO * values.min():
        axes.set_xscale("log")
    return values


def best_so_far(trials: pd.DataFrame) -> float:
    """Return the smallest value of a completed trial."""
    return float(np.min(trials.loc[trials["state"] == "complete", "value"]))


def colour_of(stage: str) -> str:
    """Return the colour of the model that a tuning stage is about."""
    return COLOURS[stage.removeprefix("tune_")]
