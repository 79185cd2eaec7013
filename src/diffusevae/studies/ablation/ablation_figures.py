"""What came of the ablation, drawn: the metrics of every variant, and their images."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.figures.drawing import COLOURS, INK, Strip, draw_strips, panels
from diffusevae.metrics.labels import describe_direction
from diffusevae.metrics.paired import METRICS
from diffusevae.studies.ablation.ablation_study import MEASURED, VAE, Pairs


def draw_variants(runs: pd.DataFrame) -> Figure:
    """Return every run as a point by variant, one plot per metric, the VAE's value as a line."""
    trained = runs[runs["variant"] != VAE]
    names = list(dict.fromkeys(trained["variant"]))
    vae = runs[runs["variant"] == VAE].iloc[0]
    figure, grid = panels(2, 2, 1.6 + 0.62 * len(names), sharey=True)
    for axes, name in zip(grid.flat, MEASURED, strict=True):
        places = trained["variant"].map(names.index)
        axes.axvline(vae[name], color=COLOURS["vae"], linestyle="--", label=VAE)
        axes.plot(
            trained[name],
            places,
            "o",
            color=COLOURS["diffusevae"],
            alpha=0.55,
            label="DiffuseVAE, one training each",
        )
        means = trained.groupby("variant", sort=False)[name].mean()
        axes.plot(means, range(len(names)), "|", color=INK, markersize=16, label="mean")
        axes.set_yticks(range(len(names)), names)
        axes.set_title(f"{METRICS[name].name} {describe_direction(METRICS[name].better)}")
        axes.margins(y=0.2)
    grid[0, 0].invert_yaxis()
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw_refined(test: Pairs, refined: Mapping[str, Tensor], columns: int = 10) -> Figure:
    """Return real images, the VAE's reconstructions, and each variant's refinements of them."""
    strips = [
        Strip("Real test images", test.real[:columns].cpu(), COLOURS["real"]),
        Strip("VAE: its reconstruction", test.x_hat[:columns].cpu(), COLOURS["vae"]),
    ]
    strips += [
        Strip(f"DiffuseVAE: {name}", images[:columns], COLOURS["diffusevae"])
        for name, images in refined.items()
    ]
    return draw_strips(strips, columns)
