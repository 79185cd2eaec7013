"""The VAE against PCA, drawn: the metrics over the size of the code, and what each restores."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.figures.drawing import COLOURS, INK, Strip, draw_strips, panels
from diffusevae.metrics.labels import describe_direction
from diffusevae.metrics.metric import METRICS
from diffusevae.studies.compression.compression_study import MEASURED, PCA, VAE


def draw_code_sizes(runs: pd.DataFrame) -> Figure:
    """Return each metric over the size of the code: PCA's line, and a point for every VAE."""
    figure, grid = panels(1, len(MEASURED), 3.4)
    for axes, name in zip(grid.flat, MEASURED, strict=True):
        for model, colour in ((PCA, INK), (VAE, COLOURS["vae"])):
            own = runs[runs["model"] == model]
            axes.plot(own.groupby("numbers")[name].mean(), color=colour)
            axes.plot(own["numbers"], own[name], "o", color=colour, alpha=0.6, label=model)
        axes.set_xscale("log")
        sizes = sorted(runs["numbers"].unique())
        axes.set_xticks(sizes, [f"{size}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("numbers in the code")
        axes.set_title(f"{METRICS[name].name} {describe_direction(METRICS[name].better)}")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def draw_restored(real: Tensor, restored: Mapping[str, Tensor], columns: int) -> Figure:
    """Return real images and what each code restores of them, by title ("PCA ..." or "VAE ...")."""
    strips = [Strip("Real test images", real[:columns], COLOURS["real"])]
    strips += [
        Strip(title, images[:columns].cpu(), COLOURS["vae"] if VAE in title else INK)
        for title, images in restored.items()
    ]
    return draw_strips(strips, columns)
