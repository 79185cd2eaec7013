"""First stages and priors, drawn: distances, probes, and pictures of new codes."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.figures.drawing import COLOURS, INK, Strip, draw_strips, panels

COLUMNS = 16
SMALL: dict[str, Any] = {"loc": "best", "fontsize": "small"}
WAYS = {
    "decoded": ("decoded", COLOURS["vae"], -0.12),
    "refined": ("refined", COLOURS["diffusevae"], 0.12),
}


def draw_priors(table: pd.DataFrame, probes: pd.DataFrame) -> Figure:
    """Return the Frechet distance of each first stage and prior, and the accuracy of the probes."""
    figure, grid = panels(2, 1, 3.5 + 0.25 * len(table))
    _draw_distances(grid[0, 0], table)
    axes = grid[1, 0]
    for name, rows in probes.groupby("features", sort=False):
        axes.plot(rows["num_labels"], rows["accuracy"], "o-", label=name)
        axes.fill_between(
            rows["num_labels"], rows["accuracy_low"], rows["accuracy_high"], alpha=0.15, linewidth=0
        )
    axes.set_xscale("log")
    axes.set_xlabel("labels")
    axes.set_title("Probe: accuracy ↑", color=INK)
    if len(probes):
        axes.legend(**SMALL)
    return figure


def _draw_distances(axes: Axes, table: pd.DataFrame) -> None:
    """Draw a line for each first stage and prior, the first on top, with a point for each way."""
    for name, (label, colour, shift) in WAYS.items():
        if f"{name}_frechet" not in table:  # no first stage has a refiner
            continue
        rows = table.reset_index(drop=True).dropna(subset=[f"{name}_frechet"])
        value = rows[f"{name}_frechet"]
        reach = [value - rows[f"{name}_frechet_low"], rows[f"{name}_frechet_high"] - value]
        axes.errorbar(value, rows.index + shift, xerr=reach, fmt="o", color=colour, label=label)
    names = [f"{row.kind}, {row.prior}" for row in table.itertuples()]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    # N(0, I) is tens of times as far as the mixture; a distance without its bias may be below 0.
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(left=min(0, axes.dataLim.xmin))
    axes.set_title("Fréchet distance ↓", color=INK)
    axes.legend(**SMALL)


def draw_new_codes(shown: Mapping[tuple[str, str], Tensor]) -> Figure:
    """Return new images by their title and way, "decoded" or "refined", in [0, 1]."""
    return draw_strips(
        [
            Strip(f"{title}: {WAYS[way][0]}", images[:COLUMNS], WAYS[way][1])
            for (title, way), images in shown.items()
        ],
        COLUMNS,
    )
