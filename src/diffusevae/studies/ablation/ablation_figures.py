"""What came of the ablation, drawn: the metrics of every variant, and their images."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.figures.drawing import COLOURS, INK, Strip, draw_strips, panels
from diffusevae.metrics.labels import ARROWS
from diffusevae.metrics.metric import METRICS
from diffusevae.studies.ablation.ablation_study import MEASURED, VAE, Pairs, list_measured
from diffusevae.studies.ablation.further_measures import FURTHER


def draw_variants(runs: pd.DataFrame) -> Figure:
    """Return every run as a point by variant, one plot per metric, the VAE's value as a line.

    It has none of the further metrics, which are of the diffusion model.
    """
    trained = runs[runs["variant"] != VAE]
    names = list(dict.fromkeys(trained["variant"]))
    vae = runs[runs["variant"] == VAE].iloc[0]
    measured = list_measured(runs)
    rows = -(-len(measured) // 2)
    figure, grid = panels(rows, 2, (1.6 + 0.62 * len(names)) * rows / 2, sharey=True)
    for axes in grid.flat[len(measured) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, measured, strict=False):
        places = trained["variant"].map(names.index)
        if name in MEASURED:
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
        if name in FURTHER:
            axes.set_title(f"{FURTHER[name]} {ARROWS['lower']}")
        else:
            axes.set_title(f"{METRICS[name].name} {ARROWS[METRICS[name].better]}")
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
