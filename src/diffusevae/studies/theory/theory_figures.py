"""The theory's figures, drawn from what was measured."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from torch import Tensor

from diffusevae.figures.drawing import (
    CLASS_COLOURS,
    COLOURS,
    INK,
    MUTED,
    Strip,
    draw_strips,
    label_axes,
    panels,
    reach_of,
)
from diffusevae.models.latent_mixture import Mixture
from diffusevae.studies.theory.detail import detail_of
from diffusevae.studies.theory.early import VAE, MadeImages
from diffusevae.studies.theory.loss_terms import Codes
from diffusevae.studies.theory.toy import SHARES, Paths, moments_at

FORWARD, BACK = COLOURS["vae"], COLOURS["ddpm"]  # the source's blue and green
REACH = 2.6  # of the plane that is shown, to each side
SHOWN_POINTS, SHOWN_MOMENTS = 400, 120
DEVIATIONS = 2  # of an ellipse
# What a way is called, and how many of its paths are shown: those without noise do not tangle.
WAYS_BACK = {"ddpm": ("back, with noise", 3), "ddim": ("back, without noise", 24)}


def draw_entropies(table: pd.DataFrame) -> Figure:
    """Return the bounds of H(X_{t-1} | X_t) over t, and where between them the estimates lie."""
    figure, grid = panels(2, 1, 6.8, sharex=True)
    lines = {
        "gaussian": ("Gaussian images of the data's covariance", COLOURS["cosine"]),
        "ddpm": ("at most, by the DDPM's errors", COLOURS["ddpm"]),
        "diffusevae": ("at most where x̂ is known, by DiffuseVAE's", COLOURS["diffusevae"]),
    }
    top, bottom = grid[:, 0]
    for name, label in (("upper", "upper bound"), ("lower", "lower bound")):
        style = "--" if name == "upper" else ":"
        top.plot(table["t"], table[name], style, color=INK, label=label)
    width = table["upper"] - table["lower"]
    for name, (label, colour) in lines.items():
        top.plot(table["t"], table[name], color=colour, label=label)
        bottom.plot(table["t"], (table[name] - table["lower"]) / width, color=colour)
        if f"{name}_low" in table:
            ends = [(table[f"{name}_{end}"] - table["lower"]) / width for end in ("low", "high")]
            bottom.fill_between(table["t"], *ends, color=colour, alpha=0.25, linewidth=0)
    bottom.axhline(1, color=INK, linestyle="--")
    bottom.axhline(0, color=INK, linestyle=":")
    label_axes(top, "Entropy of a step back, H(X(t-1) | X(t))", y="nats per number")
    label_axes(bottom, "Where between the bounds", "t", "0 lower, 1 upper")
    bottom.set_xscale("log")
    figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=1)
    return figure


def draw_moments(mixture: Mixture, forward: Paths, back: Paths) -> Figure:
    """Return points that go and points that come back, at the same moments, with their ellipses.

    Dashed is the ellipse of the closed form; solid is that of the points.
    """
    figure, grid = panels(2, len(SHARES), 2.9, sharex=True, sharey=True)
    for column, share in enumerate(SHARES):
        ways = (("forward", forward, FORWARD), ("back", back, BACK))
        for axes, (name, paths, colour) in zip(grid[:, column], ways, strict=True):
            alpha_bar, points = paths.at(share)
            some = points[:SHOWN_POINTS]
            axes.plot(some[:, 0], some[:, 1], ".", color=colour, markersize=2, alpha=0.5)
            _add_ellipse(axes, points.mean(0), points.T.cov(), colour, "-")
            _add_ellipse(axes, *moments_at(mixture, alpha_bar), INK, "--")
            _frame_plane(axes)
            if column == 0:
                axes.set_ylabel(name, color=colour)
        grid[0, column].set_title(f"ᾱ = {alpha_bar:.2f}")
    return figure


def draw_paths(mixture: Mixture, forward: Paths, backward: Mapping[str, Paths]) -> Figure:
    """Return the paths of a few points: forward, and back by each sampler; a dot is x_0."""
    figure, grid = panels(1, 1 + len(backward), 2.5, sharex=True, sharey=True)
    ways = [("forward", 3, forward, FORWARD)]
    ways += [(*WAYS_BACK[name], paths, BACK) for name, paths in backward.items()]
    for axes, (name, count, paths, colour) in zip(grid[0], ways, strict=True):
        moments = np.linspace(0, len(paths.points) - 1, SHOWN_MOMENTS).round().astype(int)
        for path in paths.points[moments, :count].unbind(1):
            axes.plot(path[:, 0], path[:, 1], color=colour, linewidth=0.8, alpha=0.8)
            axes.plot(*path[0], "o", color=colour, markersize=4, markeredgecolor="white")
        for mean, factor in zip(mixture.means, mixture.factors, strict=True):
            _add_ellipse(axes, mean, factor @ factor.T, INK, "--")
        _frame_plane(axes)
        axes.set_title(name, color=colour)
    return figure


def _frame_plane(axes: Axes) -> None:
    axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=[], yticks=[])
    axes.grid(visible=False)


def _add_ellipse(axes: Axes, mean: Tensor, covariance: Tensor, colour: str, style: str) -> None:
    """Draw where points of that mean (2) and covariance (2 x 2) are, two deviations far."""
    values, vectors = np.linalg.eigh(covariance.numpy())
    widths = 2 * DEVIATIONS * np.sqrt(values)
    angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
    ellipse = Ellipse(tuple(mean.tolist()), *widths, angle=angle)
    ellipse.set(facecolor="none", edgecolor=colour, linestyle=style, linewidth=1.2, zorder=3)
    axes.add_patch(ellipse)


def draw_codes(table: pd.DataFrame, codes: Mapping[str, Codes]) -> Figure:
    """Return the codes of each loss, coloured by class, and what they are worth below."""
    figure, grid = panels(2, len(codes), 5.2)
    for axes, (name, (z, labels)) in zip(grid[0], codes.items(), strict=True):
        colours = [CLASS_COLOURS[label % len(CLASS_COLOURS)] for label in labels]
        axes.scatter(z[:, 0], z[:, 1], s=4, c=colours, linewidths=0)
        label_axes(axes, name if name == "both" else f"{name} alone", "z₁", "")
        axes.set_aspect("equal", adjustable="datalim")
    grid[0, 0].set_ylabel("z₂")
    measures = {
        "recognised": "class named by\nneighbours ↑",
        "mse": "MSE of decoded ↓",
        "distance": "distance of codes\nfrom N(0, I) ↓",
    }
    for axes, (name, title) in zip(grid[1], measures.items(), strict=True):
        places = range(len(table))
        axes.bar(
            places,
            table[name],
            yerr=reach_of(table, name),
            color=[COLOURS["linear"], COLOURS["cosine"], COLOURS["vae"]],
            error_kw={"ecolor": MUTED, "elinewidth": 1.5, "capsize": 3},
        )
        axes.set_xticks(places, ["rec.", "KL", "both"])
        axes.set_title(title)
        axes.grid(axis="x", visible=False)
    return figure


def draw_early(
    table: pd.DataFrame, made: Mapping[str, MadeImages], real: Tensor, shown: Tensor
) -> Figure:
    """Return test images, what each model makes of them, and new images of each."""
    count, found = len(shown), table.set_index(["model", "measure"])["value"]
    strips = [Strip("Real test images", real[shown], COLOURS["real"])]
    new = []
    for name, each in made.items():
        colour = COLOURS["vae" if name == VAE else "diffusevae"]
        ssim, refined, generated = (
            found[name, measure] for measure in ("ssim", "frechet_refined", "frechet_generated")
        )
        title = f"{name}: SSIM {ssim:.3f}, Fréchet distance {refined:.3g}"
        strips.append(Strip(title, each.refined[shown], colour))
        title = f"{name}, new: Fréchet distance {generated:.3g}"
        new.append(Strip(title, each.generated[:count], colour))
    return draw_strips(strips + new, count)


def draw_detail(images: Mapping[str, Tensor], frequency: float) -> Figure:
    """Return images and the detail in them, grey being none; by the names real, vae, diffusevae."""
    titles = {"real": "Real", "vae": "VAE", "diffusevae": "DiffuseVAE"}
    strips = [Strip(title, images[name], COLOURS[name]) for name, title in titles.items()]
    strips += [
        Strip(f"{title}: the detail alone", _show_detail(images[name], frequency), COLOURS[name])
        for name, title in titles.items()
    ]
    return draw_strips(strips, len(images["real"]))


def _show_detail(images: Tensor, frequency: float) -> Tensor:
    return (0.5 + detail_of(images, frequency)).clamp(0, 1).float()
