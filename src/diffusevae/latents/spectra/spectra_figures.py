"""The figures of the study of spectra."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.figures.drawing import CLASS_COLOURS, COLOURS, INK, MUTED, label_axes, panels
from diffusevae.latents.measures.traversals import REACH
from diffusevae.latents.spectra.measured_spectra import Spectra
from diffusevae.latents.spectra.recognition import METHODS
from diffusevae.latents.spectra.spectral_lines import KNOWN_LINES

AXIS = "Raman shift / cm$^{-1}$"
DRAWN_METHODS = {  # colour, line: what measures in latent space is solid, cosines are not
    "archetype": (COLOURS["vae"], "-"),
    "code": (COLOURS["cosine"], "-"),
    "denoised": (COLOURS["linear"], "-."),
    "cosine": (INK, "--"),
    "mean_cosine": (COLOURS["diffusevae"], ":"),
}


def draw_traversals(
    decoded: Tensor, shift: np.ndarray, mineral: str, latents: pd.DataFrame
) -> Figure:
    """Return a panel per latent, the one of most KL first: decoded is latents x steps x L.

    `latents` has the columns latent and kl, in the order to draw. The mineral's lines are marked.
    """
    rows = -(-len(latents) // 2)
    figure, grid = panels(rows, 2, 1.4 + 1.15 * rows, sharex=True, sharey=True)
    scale = ScalarMappable(Normalize(-REACH, REACH), "coolwarm")
    positions = np.linspace(-REACH, REACH, decoded.shape[1])
    for axes, row in zip(grid.flat, latents.itertuples(), strict=False):
        _mark_lines(axes, mineral)
        others = _mark_other_lines(axes, mineral)
        for position, spectrum in zip(positions, decoded[row.latent], strict=True):
            axes.plot(shift, spectrum, color=scale.to_rgba(position), linewidth=0.9)
        axes.set_title(f"latent {row.latent}   KL {row.kl:.2f}", fontsize=10.5)
        axes.set_ylim(0, 1.15)
        axes.grid(visible=False)
    for axes in grid.flat[len(latents) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel(AXIS)
    figure.supylabel("intensity", fontsize=12.5)
    bar = figure.colorbar(scale, ax=grid, location="top", aspect=60, pad=0.02, shrink=0.6)
    bar.set_label(f"the latent, all others as in {mineral.lower()}'s archetype", fontsize=11.5)
    figure.legend(
        others.values(),
        others.keys(),
        loc="outside lower center",
        ncols=len(others),
        fontsize=9.5,
        handlelength=1,
        columnspacing=1.2,
        title_fontsize=9.5,
        title="marks at the top: lines of",
    )
    return figure


def _mark_lines(axes: Axes, mineral: str) -> None:
    for line, _ in KNOWN_LINES[mineral]:
        axes.axvline(line, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)


def _mark_other_lines(axes: Axes, mineral: str) -> dict[str, Artist]:
    """Mark the lines of the other minerals at the top; return their marks by mineral."""
    marks: dict[str, Artist] = {}
    for name, colour in zip(KNOWN_LINES, CLASS_COLOURS, strict=False):
        if name != mineral:
            lines = [line for line, _ in KNOWN_LINES[name]]
            marks[name] = axes.vlines(lines, 1.02, 1.15, color=colour, linewidth=2)
    return marks


def draw_pseudo_spectra(archetypes: Tensor, spectra: Spectra) -> Figure:
    """Return the pseudo-spectrum of each mineral of KNOWN_LINES over its measured spectra."""
    figure, grid = panels(-(-len(KNOWN_LINES) // 2), 2, 6.4, sharex=True, sharey=True)
    for axes, mineral in zip(grid.flat, KNOWN_LINES, strict=False):
        measured = spectra.of(mineral)[:, 0]
        _mark_lines(axes, mineral)
        axes.fill_between(
            spectra.shift,
            measured.amin(0),
            measured.amax(0),
            color=COLOURS["real"],
            alpha=0.22,
            linewidth=0,
            label="all measured",
        )
        axes.plot(
            spectra.shift,
            measured.mean(0),
            color=COLOURS["real"],
            linewidth=1.2,
            label="mean of the measured",
        )
        axes.plot(
            spectra.shift,
            archetypes[spectra.names.index(mineral), 0],
            color=COLOURS["diffusevae"],
            linewidth=1.2,
            label="pseudo-spectrum",
        )
        axes.set_title(f"{mineral}  ({len(measured)} spectra)")
        axes.set_ylim(0, 1.05)
        axes.grid(visible=False)
    for axes in grid[-1]:
        axes.set_xlabel(AXIS)
    figure.supylabel("intensity", fontsize=12.5)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw_accuracy(summary: pd.DataFrame) -> Figure:
    """Return accuracy and balanced accuracy over the noise, with their 95 % intervals."""
    figure, grid = panels(1, 2, 5.0, sharey=True)
    levels = sorted(summary["noise"].unique())
    for axes, name, title in zip(
        grid.flat,
        ("accuracy", "balanced_accuracy"),
        ("Each spectrum counts", "Each mineral counts"),
        strict=True,
    ):
        for i, (method, text) in enumerate(METHODS.items()):
            own = summary[summary["method"] == method].sort_values("noise")
            colour, line = DRAWN_METHODS[method]
            x = np.arange(len(levels)) + 0.07 * (i - 2)  # beside each other, so that bars are seen
            errors = [own[name] - own[f"{name}_low"], own[f"{name}_high"] - own[name]]
            axes.errorbar(
                x,
                own[name],
                errors,
                color=colour,
                linestyle=line,
                marker="o",
                markersize=4,
                linewidth=1.6,
                elinewidth=1,
                label=text,
            )
        axes.set_xticks(range(len(levels)), [f"{level:.0%}" for level in levels], fontsize=10)
        axes.set_ylim(0, 1)
        label_axes(axes, title, "noise", "share recognised" * (axes is grid[0, 0]))
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=1)
    return figure


def draw_lines(table: pd.DataFrame, latents: pd.DataFrame) -> Figure:
    """Return lines x latents (that of most KL first): how far a latent moves a line.

    A cell holds the swing in hundredths of the strongest line.
    """
    order = latents["latent"].tolist()
    swings = table.pivot_table("swing", "line", "latent", sort=False)[order]
    figure, grid = panels(1, 1, 1.5 + 0.235 * len(swings))
    axes = grid[0, 0]
    image = axes.imshow(swings, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), swing in np.ndenumerate(swings.to_numpy()):
        axes.text(
            j,
            i,
            f"{100 * swing:.0f}",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if swing > 0.55 else INK,
        )
    vibrations = table.drop_duplicates("line").set_index("line")["vibration"]
    axes.set_yticks(
        range(len(swings)), [f"{line}  {vibrations[line]}" for line in swings.index], fontsize=9.5
    )
    axes.set_xticks(range(len(order)), order)
    starts = table.drop_duplicates("line")["mineral"].to_numpy()
    for i in np.flatnonzero(starts[1:] != starts[:-1]):
        axes.axhline(i + 0.5, color="white", linewidth=3)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("latent, that of most KL first")
    bar = figure.colorbar(image, ax=axes, location="top", aspect=50, pad=0.01)
    bar.set_label("movement of the line as the latent goes from -3 to +3", fontsize=11.5)
    return figure
