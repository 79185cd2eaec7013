"""Quality over the number of network evaluations, drawn."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from diffusevae.figures.drawing import INK, MUTED, panels
from diffusevae.metrics.labels import MODEL_NAMES

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#7c3aed", "#0891b2", "#4b5563", "#b45309")
TITLES = {
    "ddpm_frechet": f"{MODEL_NAMES['ddpm']}: Fréchet distance ↓",
    "diffusevae_frechet": f"{MODEL_NAMES['diffusevae']}: Fréchet distance ↓",
    "diffusevae_ssim": f"{MODEL_NAMES['diffusevae']}: SSIM of refinements ↑",
}
LOG_RATIO = 10  # a range of distances from this factor on is drawn logarithmically


def draw_frontier(rows: pd.DataFrame, end: Mapping[str, float]) -> Figure:
    """Return each quantity there is over the number of network evaluations, a line per sampler.

    Filled points are proven within the margin of the converged sampler, whose values `end` are
    dashed lines.
    """
    titles = {name: title for name, title in TITLES.items() if name in rows}
    figure, grid = panels(len(titles), 1, 2.5 * len(titles) + 0.6, sharex=True)
    for axes, (name, title) in zip(grid[:, 0], titles.items(), strict=True):
        axes.axhline(end[name], color=MUTED, linestyle="--", linewidth=1.2)
        lines = rows.groupby(["sampler", "eta"], sort=False)
        for colour, ((sampler, eta), line) in zip(COLOURS, lines, strict=False):
            label = f"ddim, eta {eta:g}" if sampler == "ddim" else sampler
            axes.plot(line["num_steps"], line[name], color=colour, label=label)
            good = line[f"{name}_non_inferior"]
            axes.plot(line["num_steps"][good], line[name][good], "o", color=colour)
            axes.plot(
                line["num_steps"][~good],
                line[name][~good],
                "o",
                color=colour,
                markerfacecolor="white",
            )
        axes.set_xscale("log")
        if name.endswith("frechet") and rows[name].max() > LOG_RATIO * rows[name].min():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(ScalarFormatter())
        steps = sorted(rows["num_steps"].unique())
        axes.set_xticks(steps, [f"{n}" for n in steps])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(title, color=INK)
    grid[-1, 0].set_xlabel("network evaluations per image")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
