"""The pictures of the sprites study."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.data.dataset import to_unit
from diffusevae.figures.drawing import (
    COLOURS,
    INK,
    MUTED,
    Strip,
    draw_strips,
    figure_style,
    panels,
    save_figure,
)
from diffusevae.latents.measures.disentanglement import varied
from diffusevae.latents.measures.traversals import REACH, traverse
from diffusevae.latents.sprites.disentangling import NAMES
from diffusevae.latents.sprites.dsprites import FACTORS
from diffusevae.latents.sprites.sprites_study import SCORES, SHOWN, USED, Run, SpriteImages

COLUMNS = 11  # of a traversal
OBJECTIVE_COLOURS = {
    "beta_vae": COLOURS["vae"],
    "annealed_capacity": COLOURS["linear"],
    "factor_vae": COLOURS["diffusevae"],
    "beta_tcvae": COLOURS["ddpm"],
}


def save_pictures(
    out: Path, table: pd.DataFrame, best: Mapping[str, Run], shown: Run, images: SpriteImages
) -> None:
    """Write the pictures of the chapter; `best`: a run of each objective to reconstruct with."""
    factors = [FACTORS[k] for k in varied(images.factors)]
    with figure_style():
        save_figure(draw_scores(table), out / "scores.png")
        save_figure(draw_traversals(shown, images.test[0], factors), out / "traversals.png")
        save_figure(draw_information(shown, factors), out / "information.png")
        save_figure(draw_reconstructions(images.test, best), out / "reconstructions.png")


def draw_scores(table: pd.DataFrame) -> Figure:
    """Return each score by objective: a point for each seed, a bar at their median."""
    figure, grid = panels(1, len(SCORES), 2.5, sharey=True)
    objectives = list(table["objective"].unique())[::-1]
    for axes, (name, title) in zip(grid.flat, SCORES.items(), strict=True):
        for place, objective in enumerate(objectives):
            values = table.loc[table["objective"] == objective, name]
            colour = OBJECTIVE_COLOURS[objective]
            offsets = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else [0.0]
            axes.plot(values, place + np.array(offsets), "o", color=colour, alpha=0.65)
            axes.plot([values.median()] * 2, [place - 0.36, place + 0.36], color=colour, lw=2.5)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks(range(len(objectives)), [NAMES[name] for name in objectives])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(axis="y", visible=False)
        axes.set_title(title)
    return figure


def draw_reconstructions(test: Tensor, runs: Mapping[str, Run]) -> Figure:
    """Return uint8 test images above what a run of each objective makes of them."""
    strips = [Strip("Real sprites", to_unit(test[:SHOWN]), COLOURS["real"])]
    for objective, run in runs.items():
        title = f"{NAMES[objective]}, seed {run.seed} (MIG {run.scores['mig']:.2f})"
        strips.append(Strip(title, run.restored, OBJECTIVE_COLOURS[objective]))
    return draw_strips(strips, SHOWN)


def draw_traversals(run: Run, image: Tensor, factors: Sequence[str]) -> Figure:
    """Return one row per latent, the one with the largest KL first, of one uint8 image 1 x H x W.

    Each goes from -3 to +3 while the others stay; the title names the factor of which the latent
    knows most.
    """
    strips = []
    with torch.inference_mode():
        device = next(run.model.parameters()).device
        code = run.model.encode(to_unit(image[None].to(device)))[0]
    for latent in run.kl.argsort(descending=True).tolist():
        best = int(run.information[latent].argmax())
        title = (
            f"Latent {latent}: {factors[best]} {run.information[latent, best]:.0%} "
            f"({run.kl[latent]:.1f} nats)"
        )
        used = run.kl[latent] > USED
        strips.append(
            Strip(
                title if used else f"Latent {latent}: unused",
                traverse(run.model, code, latent, COLUMNS)[0].cpu(),
                INK if used else MUTED,
            )
        )
    places = np.linspace(-REACH, REACH, COLUMNS)
    headings = [f"{place:+.1f}" if abs(place) > 0.01 else "0" for place in places]
    return draw_strips(strips, COLUMNS, headings)


def draw_information(run: Run, factors: Sequence[str]) -> Figure:
    """Return the share of each factor's entropy that each latent knows, largest KL on top."""
    order = run.kl.argsort(descending=True)
    shares = run.information[order].numpy()
    figure, ((axes,),) = panels(1, 1, 0.95 + 0.32 * len(shares))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            column,
            row,
            f"{share:.0%}",
            ha="center",
            va="center_baseline",
            fontsize=11.5,
            color="white" if share > 0.55 else INK if share >= 0.05 else MUTED,
        )
    axes.set_xticks(range(len(factors)), factors)
    axes.set_yticks(range(len(shares)), [f"latent {j} ({run.kl[j]:.1f} nats)" for j in order])
    axes.tick_params(length=0, labelcolor=INK)
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure
