"""Figures of the models themselves, captioned: the VAE and its codes, the diffusion process."""

from collections.abc import Iterator

import numpy as np

from diffusevae.core.randomness import seed_of
from diffusevae.figures import curve_figures as curves
from diffusevae.figures import image_figures as pictures
from diffusevae.figures.image_figures import Snapshots
from diffusevae.figures.results import Drawn, FiguresConfig, Results
from diffusevae.models.code_use import ACTIVE_VARIANCE, find_active
from diffusevae.models.codes import MAX_POINTS, choose_perplexity, embed_codes, knn_accuracy

MAX_CODE_PANELS = 4  # the last snapshots; t-SNE takes seconds each
NEIGHBOURS = 5
FORWARD_CLASS = 3  # of the image that the forward process destroys: the study's is a 3


def draw_vae(results: Results, config: FiguresConfig, seed: int) -> Iterator[Drawn]:
    """Yield the figures of the VAE: none where it left no snapshots."""
    snapshots = results.snapshots["vae"]
    if not snapshots:
        return
    yield Drawn(
        "vae_reconstructions.png",
        "VAE reconstructions early and late",
        f"Validation images and their reconstructions {name_epochs(snapshots)}.",
        "vae",
        pictures.draw_vae_reconstructions(snapshots, config.num_images),
    )
    yield Drawn(
        "vae_samples.png",
        "VAE samples early and late",
        f"Codes drawn from N(0, I) and decoded {name_epochs(snapshots)}. With a small "
        "weight on the KL term the codes of real images do not fill N(0, I), so these may look "
        "like no class at all: the reason for the fitted mixture.",
        "vae",
        pictures.draw_samples(snapshots, "vae", config.num_images),
    )
    if all("kl" in snapshot for snapshot in snapshots.values()):
        yield _draw_use(snapshots)
    if min(len(s["mu"]) for s in snapshots.values()) >= 4:
        yield _draw_codes(snapshots, config.tsne_perplexity, seed)


def _draw_use(snapshots: Snapshots) -> Drawn:
    """Return the KL of every latent number, and in words how many are active."""
    shown = {epoch: snapshots[epoch] for epoch in pictures.first_and_last(snapshots)}
    said = " and ".join(
        f"{int(find_active(snapshot['mu']).sum()):,} after epoch {epoch}"
        for epoch, snapshot in shown.items()
    )
    images, numbers = next(iter(shown.values()))["mu"].shape
    return Drawn(
        "code_use.png",
        "How much of its code the VAE uses",
        f"KL of each of the {numbers:,} numbers of the code, the greatest first, mean of "
        f"{images:,} validation images. A number at 0 is the same noise for every image. Active "
        f"(its mean varies over images, variance above {ACTIVE_VARIANCE:g}) are {said}.",
        "vae",
        curves.draw_code_use({epoch: snapshot["kl"] for epoch, snapshot in shown.items()}),
    )


def _draw_codes(snapshots: Snapshots, perplexity: float, seed: int) -> Drawn:
    """Return t-SNE pictures of the last snapshots' codes, each with its kNN accuracy."""
    panels, accuracies = [], []
    for epoch in sorted(snapshots)[-MAX_CODE_PANELS:]:
        mu = snapshots[epoch]["mu"][:MAX_POINTS].flatten(1).numpy()
        labels = snapshots[epoch]["labels"][:MAX_POINTS].numpy()
        points = embed_codes(mu, perplexity, seed_of(seed, "figures", "codes") % 2**32)
        accuracies.append((epoch, knn_accuracy(mu, labels, NEIGHBOURS)))
        panels.append((f"epoch {epoch}: kNN {accuracies[-1][1]:.1%}", points, labels))
    said = ", ".join(f"{share:.1%} after epoch {epoch}" for epoch, share in accuracies)
    chance = np.bincount(labels).max() / len(labels)
    return Drawn(
        "codes.png",
        "Where the VAE puts the classes",
        f"t-SNE of the codes of {len(mu):,} validation images, coloured and numbered by class "
        f"(perplexity {choose_perplexity(len(mu), perplexity):g}). The VAE never saw a label. "
        f"Measured on the codes themselves, the {NEIGHBOURS} nearest neighbours name an image's "
        f"class in {said} of cases; always naming the commonest class would get {chance:.1%}. "
        "Distances between groups mean little in such a picture.",
        "vae",
        curves.draw_codes(panels),
    )


def draw_diffusion(results: Results, num_images: int, seed: int) -> Iterator[Drawn]:
    """Yield the figures of the diffusion process and of the unconditional model."""
    config = results.diffusion
    place = pictures.find_shown(results.pairs["labels"], FORWARD_CLASS)
    yield Drawn(
        "forward.png",
        "Destroying an image, step by step",
        f"The forward process adds noise over T = {config.num_timesteps} steps; the models learn "
        "to undo it. The linear schedule is all noise long before the end, the cosine schedule "
        f"spreads the loss of the image more evenly. This experiment uses {config.scheduler_type}.",
        "diffusion",
        pictures.draw_forward(results.pairs["real"][place], config, seed),
    )
    yield Drawn(
        "schedules.png",
        "Both schedules as curves",
        "Left: signal-to-noise ratio of the noisy image in decibels, 0 dB where both are equally "
        "strong, cut off at −60 dB. Right: the share of the image's variance that is left. "
        "The dashed schedule is not used by this experiment.",
        "diffusion",
        curves.draw_schedules(config),
    )
    if snapshots := results.snapshots["ddpm"]:
        yield Drawn(
            "ddpm_samples.png",
            "The unconditional DDPM early and late",
            f"Images made from noise alone {name_epochs(snapshots)}, by a diffusion model without "
            "a VAE to guide it.",
            "diffusion",
            pictures.draw_samples(snapshots, "ddpm", num_images),
        )


def name_epochs(snapshots: Snapshots) -> str:
    """Return e.g. "after epoch 5 and after epoch 50"."""
    return " and ".join(f"after epoch {epoch}" for epoch in pictures.first_and_last(snapshots))
