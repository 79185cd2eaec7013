"""Figures made of points and lines: schedules, losses, codes, and the distributions of metrics."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from diffusevae.figures.drawing import CLASS_COLOURS, COLOURS, INK, MUTED, label_axes, panels
from diffusevae.metrics.labels import FLOOR, MODEL_NAMES, WAYS, describe_direction
from diffusevae.metrics.metric import METRICS, PAIRED
from diffusevae.models.diffusion_config import DiffusionConfig

LEAST_KL = 1e-5  # nats; a logarithmic scale has no 0


def draw_schedules(config: DiffusionConfig) -> Figure:
    """Return SNR in dB and bar_alpha over t of the linear, the cosine and the used schedule."""
    figure, ((left, right),) = panels(1, 2, 2.9)
    for name in dict.fromkeys(("linear", "cosine", config.scheduler_type)):
        schedule = dataclasses.replace(config, scheduler_type=name).schedule
        t = np.arange(1, config.num_timesteps + 1)
        options = {
            "color": COLOURS[name],
            "label": name,
            "linestyle": "-" if name == config.scheduler_type else "--",
        }
        left.plot(t, schedule.snr_db.numpy(), **options)
        right.plot(t, schedule.alpha_bars.numpy(), **options)
    left.axhline(0, color=MUTED, linewidth=0.8)
    left.set_ylim(bottom=-60)  # the cosine schedule falls on to far below any visible signal
    label_axes(left, "Signal to noise (dB)", "t")
    label_axes(right, r"Share of signal $\bar{\alpha}_t$", "t")
    right.legend(loc="upper right")
    return figure


def draw_losses(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Return the loss of the VAE, and beside it those of both diffusion models, by epoch."""
    figure, ((left, right),) = panels(1, 2, 3.4)
    lines: dict[str, Literal["-", "--"]] = {"validation": "-", "training": "--"}
    for axes, models in ((left, ("vae",)), (right, ("ddpm", "diffusevae"))):
        for model in models:
            history = histories[model]
            for part, column in (("validation", "validation_loss"), ("training", "train_loss")):
                axes.plot(
                    history["epoch"],
                    history[column],
                    lines[part],
                    color=COLOURS[model],
                    marker="o" if len(history) <= 20 else None,
                )
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.margins(x=0.08)
    label_axes(left, "VAE", "epoch", "loss")
    label_axes(right, "Diffusion", "epoch")
    keys = [Line2D([], [], color=COLOURS[model], label=name) for model, name in MODEL_NAMES.items()]
    keys += [Line2D([], [], color=INK, linestyle=line, label=part) for part, line in lines.items()]
    figure.legend(
        handles=keys, loc="outside lower center", ncols=5, handlelength=1.2, columnspacing=1.0
    )
    return figure


def draw_code_use(kl: Mapping[int, Tensor]) -> Figure:
    """Return the KL of each latent number (D, in nats) by epoch, sorted, the greatest first."""
    figure, ((axes,),) = panels(1, 1, 2.9)
    lines: tuple[Literal["--", "-"], ...] = ("--", "-")
    for (epoch, values), line in zip(kl.items(), lines[-len(kl) :], strict=True):
        rank = np.arange(1, len(values) + 1)
        falling = values.sort(descending=True).values.clamp(min=LEAST_KL).numpy()
        axes.plot(rank, falling, line, color=COLOURS["vae"], label=f"after epoch {epoch}")
    axes.set_yscale("log")
    label_axes(axes, "KL of each latent number (nats)", "rank")
    axes.legend(loc="lower left")
    return figure


def draw_codes(panels_of_codes: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> Figure:
    """Return scatter plots of codes, two to a row: (title, m x 2 points, m labels) each."""
    columns = min(2, len(panels_of_codes))
    rows = -(-len(panels_of_codes) // columns)
    figure, grid = panels(rows, columns, 0.2 + 3.0 * rows if columns > 1 else 5.0)
    for axes in grid.flat[len(panels_of_codes) :]:
        axes.set_visible(False)
    for axes, (title, points, labels) in zip(grid.flat, panels_of_codes, strict=False):
        _scatter_classes(axes, points, labels)
        axes.set_title(title)
    return figure


def _scatter_classes(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    """Draw points coloured by class, with the class's number at the middle of its points."""
    size = min(24, max(5, 12_000 / len(points)))
    for label in np.unique(labels):
        own = points[labels == label]
        colour = CLASS_COLOURS[int(label) % len(CLASS_COLOURS)]
        axes.scatter(own[:, 0], own[:, 1], s=size, color=colour, alpha=0.75, linewidths=0)
        axes.annotate(
            str(label),
            np.median(own, axis=0),
            ha="center",
            va="center",
            weight="bold",
            fontsize=13,
            color=INK,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_paired_metrics(per_image: pd.DataFrame) -> Figure:
    """Return the distribution over test images of each paired metric, VAE against DiffuseVAE.

    Lines mark the means. A metric that was not measured is left out.
    """
    names = [name for name in PAIRED if per_image[name].notna().any()]
    rows = -(-(len(names) + 1) // 2)
    figure, grid = panels(rows, 2, 1.8 * rows)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        _compare_histograms(
            axes,
            {
                model: per_image.loc[per_image["model"] == model, name]
                for model in ("vae", "diffusevae")
            },
        )
        metric = METRICS[name]
        axes.set_title(f"{metric.name} {describe_direction(metric.better)}")
    grid.flat[len(names)].legend(*grid.flat[0].get_legend_handles_labels(), loc="center left")
    return figure


def _compare_histograms(axes: Axes, columns: Mapping[str, pd.Series]) -> None:
    both = np.concatenate([column.to_numpy() for column in columns.values()])
    low, high = np.quantile(both, [0.005, 0.995])  # one outlier must not squeeze all others
    bins = np.linspace(low, max(high, low + 1e-6), 41).tolist()
    for model, column in columns.items():
        inside = column.clip(bins[0], bins[-1])
        axes.hist(inside, bins, color=COLOURS[model], alpha=0.35)
        axes.hist(inside, bins, color=COLOURS[model], histtype="step", linewidth=1.2)
        axes.axvline(column.mean(), color=COLOURS[model], label=f"{MODEL_NAMES[model]}: mean")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)


def draw_distances(metrics: Mapping) -> Figure:
    """Return the Frechet distance of each way to generate, with its interval and the floor."""
    names = [name for name in WAYS if name in metrics["generated"]]
    figure, ((axes,),) = panels(1, 1, 0.9 + 0.5 * (len(names) + 1))
    rows = [
        (WAYS[name][0], COLOURS[WAYS[name][1]], metrics["generated"][name]["frechet"])
        for name in names
    ]
    rows.append((FLOOR, COLOURS["real"], metrics["floor"]["frechet"]))
    # An interval may reach down to zero, which a logarithmic scale cannot: it ends at the edge.
    edge = min(max(entry["value"], 1e-6) for _, _, entry in rows) / 4
    for y, (_, colour, entry) in enumerate(rows):
        axes.plot([max(entry["low"], edge), entry["high"]], [y, y], color=colour)
        axes.plot(max(entry["value"], edge), y, "o", color=colour, markersize=8)
    labels = [title.replace(", ", ",\n", 1) for title, _, _ in rows]
    axes.set_yticks(range(len(rows)), labels, color=INK)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(left=edge)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Fréchet distance ↓")
    return figure
