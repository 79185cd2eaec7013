"""The parts of the Fréchet distance, drawn."""

import pandas as pd
from matplotlib.figure import Figure

from diffusevae.figures.drawing import COLOURS, INK, MUTED, panels
from diffusevae.studies.frontier.budget import CHAIN, PARTS


def draw_budget(rows: pd.DataFrame) -> Figure:
    """Return the parts as bars that start where the one before ends, with their intervals."""
    figure, ((axes,),) = panels(1, 1, 0.9 + 0.62 * len(rows))
    steps, start = list(PARTS)[: len(CHAIN)], 0.0
    for y, row in enumerate(rows.itertuples()):
        is_step = row.part in steps
        left = start if is_step else 0.0
        colour = COLOURS["ddpm"] if row.value <= 0 else COLOURS["real"]
        axes.barh(
            y, row.value, left=left, height=0.55, color=colour if is_step else MUTED, alpha=0.55
        )
        axes.plot([left + row.low, left + row.high], [y, y], color=INK, linewidth=1.5)
        axes.annotate(
            f"{row.value:+.1f}",
            (max(left + row.high, left), y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=INK,
        )
        start = left + row.value
    axes.set_yticks(
        range(len(rows)), [part.replace(": ", ":\n", 1) for part in rows["part"]], color=INK
    )
    axes.invert_yaxis()
    axes.margins(x=0.22)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Fréchet distance ↓, extrapolated to infinitely many images")
    return figure
