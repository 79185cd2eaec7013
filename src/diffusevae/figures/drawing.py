"""How every figure looks and is saved: one palette, one type size, bytes set by content alone."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from torch import Tensor

WIDTH = 6.4  # inches; with the type below still readable when a phone shrinks it to its screen
DPI = 250  # 1600 pixels across
TITLE_HEIGHT, HEADING_HEIGHT = 0.32, 0.24  # inches, above a strip, above its columns
INK, MUTED, RULE = "#1f2937", "#6b7280", "#e5e7eb"
# One colour per model everywhere, safe for colour-blind readers (after Okabe and Ito).
COLOURS = {
    "real": "#4b5563",
    "vae": "#0072b2",
    "ddpm": "#009e73",
    "diffusevae": "#d55e00",
    "linear": "#7c3aed",
    "cosine": "#0891b2",
    "flow": "#be185d",
}
CLASS_COLOURS = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#bcbd22",
    "#17becf",
)
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 12.5,
    "axes.titlesize": 12.5,
    "axes.labelsize": 12.5,
    "legend.fontsize": 11.5,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#9ca3af",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": RULE,
    "axes.axisbelow": True,
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "legend.frameon": False,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.use_mathtext": True,
}


@dataclass(frozen=True, eq=False)
class Strip:
    """Images n x C x H x W in [0, 1] under one line of text, laid out row by row."""

    title: str
    images: Tensor
    colour: str = INK


def figure_style() -> AbstractContextManager:
    """Return the context to draw and save figures in; the user's matplotlibrc has no say in it."""
    return style.context(["default", STYLE])


def save_figure(
    figure: Figure, path: Path | BinaryIO, texts: Mapping[str, str] | None = None
) -> None:
    """Write a PNG without the program's name or a date in it, but with these texts (tEXt)."""
    figure.savefig(path, format="png", metadata={"Software": None, **(texts or {})})


def panels(rows: int, columns: int, height: float, **options) -> tuple[Figure, np.ndarray]:
    """Return a figure `height` inches high and its rows x columns axes."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def draw_strips(
    strips: Sequence[Strip], columns: int, headings: Sequence[str] | None = None
) -> Figure:
    """Return a figure of image strips below each other, `columns` images to a row.

    `headings` stand above the columns of the first strip. Every pixel of an image becomes k x k
    pixels of the figure, so the picture is as sharp as the data.
    """
    sheets = [tile(strip.images, columns) for strip in strips]
    k = max(1, round(DPI * WIDTH / sheets[0].shape[1]))
    width = k * sheets[0].shape[1]
    dpi = width / WIDTH
    title, top = round(TITLE_HEIGHT * dpi), round(HEADING_HEIGHT * dpi) if headings else 0
    height = top + sum(title + k * len(sheet) for sheet in sheets)
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    for i, heading in enumerate(headings or ()):
        figure.text(
            (i + 0.5) / columns,
            1 - top / 2 / height,
            heading,
            ha="center",
            va="center",
            color=MUTED,
            fontsize=10,
        )
    y = height - top
    for strip, sheet in zip(strips, sheets, strict=True):
        figure.text(
            0.004,
            (y - 0.55 * title) / height,
            strip.title,
            va="center",
            color=strip.colour,
            weight="bold",
        )
        y -= title + k * len(sheet)
        figure.figimage(sheet.repeat(k, axis=0).repeat(k, axis=1), 0, y, origin="upper")
    return figure


def tile(images: Tensor, columns: int, gap: int = 2) -> np.ndarray:
    """Return n images (n x C x H x W, C 1 or 3) as one picture, rows x width x 3, uint8.

    Images have a white border; those missing in the last row are white.
    """
    pixels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()  # n x H x W x C
    pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3))
    count, height, width, _ = pixels.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap), columns * (width + gap), 3), 255, dtype=np.uint8)
    for i, image in enumerate(pixels):
        y = (i // columns) * (height + gap) + gap // 2
        x = (i % columns) * (width + gap) + gap // 2
        sheet[y : y + height, x : x + width] = image
    return sheet


def label_axes(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Write the three texts of a plot."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def reach_of(table: pd.DataFrame, column: str) -> list[pd.Series]:
    """Return how far the intervals of a column reach below and above it, as error bars want it."""
    return [table[column] - table[f"{column}_low"], table[f"{column}_high"] - table[column]]


def draw_interval_bars(
    axes: Axes, names: Sequence[str], table: pd.DataFrame, column: str, colours: Sequence[str]
) -> BarContainer:
    """Draw a column as bars from the left, each with its name and interval."""
    bars = axes.barh(
        names,
        table[column],
        xerr=reach_of(table, column),
        color=colours,
        capsize=3,
        ecolor=MUTED,
        height=0.6,
    )
    axes.grid(axis="y", visible=False)
    return bars
