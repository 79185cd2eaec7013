"""The pictures of the beta-VAE study."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.figures.drawing import COLOURS, INK, MUTED, Strip, draw_strips, panels
from diffusevae.latents.digits.archetypes import WAYS, Archetypes
from diffusevae.latents.digits.digits_study import Findings
from diffusevae.latents.measures import traversals
from diffusevae.latents.measures.shapes import SHAPES
from diffusevae.latents.measures.traversals import FACTORS, REACH, traverse
from diffusevae.latents.models.beta_vae import VectorVAE
from diffusevae.latents.models.deterministic import ConvolutionalAutoencoder

COLUMNS = 13
LINES = {
    "latent_class": ("#0072b2", "-"),
    "latent_cluster": ("#0072b2", "--"),
    "pixels_class": ("#d55e00", "-"),
    "pixels_cluster": ("#d55e00", "--"),
    "denoise": ("#009e73", "-"),
    "classify": ("#4b5563", ":"),
}


def draw_traversals(model: VectorVAE, code: Tensor, cards: pd.DataFrame) -> Figure:
    """Return one row per latent, the one with the largest KL first; `code` is 1 x latents."""
    strips = []
    for card in cards.sort_values("kl", ascending=False).to_dict("records"):
        title = f"Latent {card['latent']}: {card['meaning']} ({card['kl']:.2f} nats)"
        colour = INK if card["kl"] >= traversals.USED else MUTED
        strips.append(Strip(title, traverse(model, code, card["latent"], COLUMNS)[0], colour))
    return draw_strips(strips, COLUMNS, _places())


def draw_jumps(
    beta_vae: tuple[VectorVAE, Tensor, pd.DataFrame],
    autoencoder: tuple[ConvolutionalAutoencoder, Tensor, pd.DataFrame],
    rows: int = 3,
) -> Figure:
    """Return the traversals that change the image most, of both models: (model, codes, cards).

    The first code is traversed; the autoencoder's reach is that of its codes.
    """
    strips = []
    for name, (model, codes, cards) in (("Beta-VAE", beta_vae), ("Autoencoder", autoencoder)):
        centre, scale = (
            (0.0 * codes[0], 1.0 + 0.0 * codes[0])
            if name == "Beta-VAE"
            else (codes.mean(0), codes.std(0))
        )
        for card in cards.nlargest(rows, "pixels").to_dict("records"):
            latent = card["latent"]
            path = traverse(
                model, codes[:1], latent, COLUMNS, float(centre[latent]), float(scale[latent])
            )[0]
            title = f"{name}, latent {latent}: largest step {card['jump']:.1f} times the mean"
            strips.append(Strip(title, path, COLOURS["vae" if name == "Beta-VAE" else "real"]))
    return draw_strips(strips, COLUMNS, _places())


def _places() -> list[str]:
    return [f"{place:+.1f}" if place else "0" for place in np.linspace(-REACH, REACH, COLUMNS)]


def draw_cards(cards: pd.DataFrame) -> Figure:
    """Return the effects of every latent on every factor, with their 95 % intervals."""
    cards = cards.sort_values("kl", ascending=False)
    figure, grid = panels(1, len(FACTORS), 1.3 + 0.33 * len(cards), sharey=True)
    ends_of_all = cards[[f"effect_{name}_{end}" for name in SHAPES for end in ("low", "high")]]
    reach = 1.05 * max(1.0, ends_of_all.abs().to_numpy().max())
    for axes, name in zip(grid[0], FACTORS, strict=True):
        values = cards[f"effect_{name}"].to_numpy()
        ends = cards[[f"effect_{name}_low", f"effect_{name}_high"]].to_numpy().T
        colours = [COLOURS["vae"] if kl >= traversals.USED else MUTED for kl in cards["kl"]]
        axes.barh(
            range(len(cards)),
            values,
            color=colours,
            xerr=np.abs(ends - values),
            error_kw={"ecolor": INK, "elinewidth": 1},
        )
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_title(name)
        axes.set_xlabel("share" if name == "class" else "s.d.")
        axes.set_xlim((0, 1.05) if name == "class" else (-reach, reach))
        axes.grid(visible=False, axis="y")
    labels = [f"latent {card.latent}, {card.kl:.2f}" for card in cards.itertuples()]
    grid[0, 0].set_yticks(range(len(cards)), labels)
    grid[0, 0].invert_yaxis()
    return figure


def draw_ranking(ranking: pd.DataFrame) -> Figure:
    """Return KL of every latent by index and by match, a line for each seed."""
    figure, ((left, right),) = panels(1, 2, 3.6, sharey=True)
    titles = {"latent": "by index", "match": "matched by their codes"}
    for axes, (column, title) in zip((left, right), titles.items(), strict=True):
        for seed, own in ranking.groupby("seed"):
            own = own.sort_values(column)
            axes.plot(own[column], own["kl"], "o-", linewidth=1, alpha=0.75, label=f"seed {seed}")
        axes.set_title(title)
        axes.set_xlabel("latent" if column == "latent" else "latent of the first seed")
        axes.set_xticks(sorted(ranking["latent"].unique()))
    left.set_ylabel("KL in nats")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def draw_archetypes(
    classes: Archetypes, clusters: Archetypes, images: Tensor, labels: Tensor
) -> Figure:
    """Return a real image of each class, the class archetypes, and the clusters' by their label."""
    firsts = torch.stack([images[(labels == label).nonzero()[0, 0]] for label in classes.labels])
    order = clusters.labels.argsort(stable=True)
    count = len(classes.labels)
    return draw_strips(
        [
            Strip("A real image of each class", firsts, COLOURS["real"]),
            Strip(
                "Class archetypes: the mean code of a class, decoded",
                classes.images,
                COLOURS["vae"],
            ),
            Strip(
                "Cluster archetypes: the centres of k-means clusters, decoded",
                clusters.images[order],
                COLOURS["vae"],
            ),
        ],
        count,
    )


def draw_recognition(table: pd.DataFrame) -> Figure:
    """Return accuracy over the noise level of each way to recognise, with 95 % intervals."""
    figure, ((axes,),) = panels(1, 1, 5.4)
    for way, own in table.groupby("way", sort=False):
        colour, dashes = LINES[way]
        axes.plot(own["noise"], own["accuracy"], dashes, color=colour, label=WAYS[way])
        axes.fill_between(own["noise"], own["low"], own["high"], color=colour, alpha=0.15)
    axes.set_xlabel("standard deviation of the noise")
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=1)
    return figure


def draw_all(
    model: VectorVAE,
    autoencoder: ConvolutionalAutoencoder,
    findings: Mapping[str, Sequence[Findings]],
    ranking: pd.DataFrame,
    recognition: pd.DataFrame,
    archetypes: tuple[Archetypes, Archetypes],
    images: Tensor,
    labels: Tensor,
) -> dict[str, Figure]:
    """Return every picture of the study by its file name; findings of the first seed are shown."""
    beta_vae, deterministic = findings["beta_vae"][0], findings["autoencoder"][0]
    codes, other = torch.from_numpy(beta_vae.mu), torch.from_numpy(deterministic.mu)
    return {
        "traversals.png": draw_traversals(model, codes[:1], beta_vae.cards),
        "cards.png": draw_cards(beta_vae.cards),
        "ranking.png": draw_ranking(ranking),
        "jumps.png": draw_jumps(
            (model, codes, beta_vae.cards), (autoencoder, other, deterministic.cards)
        ),
        "archetypes.png": draw_archetypes(*archetypes, images, labels),
        "recognition.png": draw_recognition(recognition),
    }
