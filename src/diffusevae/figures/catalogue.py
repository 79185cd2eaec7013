"""Every figure of an experiment, in the order of the report, each with a caption for a stranger.

Pure: what the stages made in, drawn figures out. The list: docs/study.md, section 8.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffusevae.core.params import Range
from diffusevae.core.randomness import seed_of
from diffusevae.figures import curve_figures as curves
from diffusevae.figures import image_figures as pictures
from diffusevae.figures import tuning_figures as tuning
from diffusevae.figures.image_figures import Snapshots, Tensors
from diffusevae.metrics.labels import MODEL_NAMES
from diffusevae.models.codes import MAX_POINTS, choose_perplexity, embed_codes, knn_accuracy
from diffusevae.models.diffusion import DiffusionConfig

MAX_CODE_PANELS = 4  # the last snapshots; t-SNE takes seconds each
NEIGHBOURS = 5


@dataclass(frozen=True)
class FiguresConfig:
    """num_images: columns of an image grid; tsne_perplexity is lowered where codes are few."""

    num_images: Annotated[int, Range(2, 50)]
    tsne_perplexity: Annotated[float, Range(1, 1000)]


@dataclass(frozen=True, eq=False)
class Results:
    """What the stages of an experiment made, by model "vae", "ddpm", "diffusevae".

    tuning maps tune_vae and tune_ddpm to (trials, importances); per_image and metrics are those of
    the stage evaluate, the tensors those of sample; diffusion is what the models were trained with.
    """

    diffusion: DiffusionConfig
    snapshots: Mapping[str, Snapshots]
    histories: Mapping[str, pd.DataFrame]
    tuning: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]
    pairs: Tensors
    generated: Tensors
    trajectory: Tensors
    per_image: pd.DataFrame
    metrics: Mapping


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure with its file name, title, caption, and the section of the report it belongs to."""

    file: str
    title: str
    caption: str
    section: str
    figure: Figure


def draw_all(results: Results, config: FiguresConfig, seed: int) -> Iterator[Drawn]:
    """Yield every figure this experiment can make; the first one is its hero picture.

    Draw within `drawing.figure_style()`.
    """
    yield from _draw_results(results, config.num_images)
    yield from _draw_measurements(results)
    yield from _draw_vae(results, config, seed)
    yield from _draw_diffusion(results, config.num_images, seed)
    yield _draw_training(results)
    for stage, (trials, importances) in results.tuning.items():
        yield from _draw_tuning(stage, trials, importances)


def _draw_results(results: Results, num_images: int) -> Iterator[Drawn]:
    yield Drawn(
        "reconstructions.png",
        "Real, VAE, DiffuseVAE",
        "Test images that no model saw in training (top), what the VAE makes of each after "
        "squeezing it through its small code (middle), and what the diffusion model makes of the "
        "VAE's picture (bottom). The first image of every class is shown, whatever came out.",
        "pictures",
        pictures.draw_reconstructions(results.pairs, num_images),
    )
    yield Drawn(
        "generated.png",
        "New images from every model",
        "None of these existed before: each model starts from random numbers. The VAE decodes a "
        "random code; DiffuseVAE refines exactly the VAE pictures shown above it; the DDPM starts "
        "from noise alone. The mixture is fitted to the codes of the training images. The first "
        f"{2 * num_images} of {results.metrics['num_generated']:,} are shown, none picked.",
        "pictures",
        pictures.draw_generated(results.pairs["real"], results.generated, num_images),
    )
    if snapshots := results.snapshots["diffusevae"]:
        yield Drawn(
            "refinements.png",
            "DiffuseVAE early and late in training",
            f"The same images refined {_name_epochs(snapshots)}, from the same noise and the same "
            "VAE picture: what differs is what training added.",
            "pictures",
            pictures.draw_refinements(snapshots, num_images),
        )
    yield Drawn(
        "trajectory.png",
        "From noise to image",
        "DiffuseVAE at work on three test images: on the far left the VAE's picture that guides "
        "it, then the steps from pure noise to the finished image. Above, the noisy image itself; "
        "below, the clean image the model predicts from it.",
        "pictures",
        pictures.draw_trajectory(results.trajectory),
    )


def _draw_measurements(results: Results) -> Iterator[Drawn]:
    yield Drawn(
        "paired_metrics.png",
        "Every test image measured",
        f"How the {results.metrics['num_images']:,} test images spread on each metric; vertical "
        "lines are the means of the table. Values beyond the middle 99 % are drawn at the edge.",
        "reconstruction",
        curves.draw_paired_metrics(results.per_image),
    )
    yield Drawn(
        "distances.png",
        "How far generated images are from real ones",
        "Fréchet distance to real test images in the features of this data set's own classifier; "
        "bars are 95 % intervals, which end at the left edge where they reach zero. The floor is "
        "what as many real training images score. The scale is logarithmic.",
        "generation",
        curves.draw_distances(results.metrics),
    )


def _draw_vae(results: Results, config: FiguresConfig, seed: int) -> Iterator[Drawn]:
    snapshots = results.snapshots["vae"]
    if not snapshots:
        return
    yield Drawn(
        "vae_reconstructions.png",
        "VAE reconstructions early and late",
        f"Validation images and their reconstructions {_name_epochs(snapshots)}.",
        "vae",
        pictures.draw_vae_reconstructions(snapshots, config.num_images),
    )
    yield Drawn(
        "vae_samples.png",
        "VAE samples early and late",
        f"Codes drawn from N(0, I) and decoded {_name_epochs(snapshots)}. With a small "
        "weight on the KL term the codes of real images do not fill N(0, I), so these may look "
        "like no class at all: the reason for the fitted mixture.",
        "vae",
        pictures.draw_samples(snapshots, "vae", config.num_images),
    )
    if min(len(s["mu"]) for s in snapshots.values()) >= 4:
        yield _draw_codes(snapshots, config.tsne_perplexity, seed)


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


def _draw_diffusion(results: Results, num_images: int, seed: int) -> Iterator[Drawn]:
    config = results.diffusion
    yield Drawn(
        "forward.png",
        "Destroying an image, step by step",
        f"The forward process adds noise over T = {config.num_timesteps} steps; the models learn "
        "to undo it. The linear schedule is all noise long before the end, the cosine schedule "
        f"spreads the loss of the image more evenly. This experiment uses {config.scheduler_type}.",
        "diffusion",
        pictures.draw_forward(results.pairs["real"][0], config, seed),
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
            f"Images made from noise alone {_name_epochs(snapshots)}, by a diffusion model without "
            "a VAE to guide it.",
            "diffusion",
            pictures.draw_samples(snapshots, "ddpm", num_images),
        )


def _draw_training(results: Results) -> Drawn:
    return Drawn(
        "losses.png",
        "Losses by epoch",
        "Solid: validation images, the weights averaged over training, the same noise in every "
        "epoch. Dashed: training images, the weights of the moment. The VAE's loss and the "
        "diffusion models' are different quantities; DDPM and DiffuseVAE share theirs, so the gap "
        "between them is what the VAE's picture tells the model.",
        "training",
        curves.draw_losses(results.histories),
    )


def _draw_tuning(stage: str, trials: pd.DataFrame, importances: pd.DataFrame) -> Iterator[Drawn]:
    """Yield up to three figures of a study; none where it had no trials."""
    completed = int((trials["state"] == "complete").sum())
    if not completed:
        return
    name, colour = MODEL_NAMES[stage.removeprefix("tune_")], tuning.colour_of(stage)
    yield Drawn(
        f"{stage}_history.png",
        f"{name}: the search",
        f"Each dot is a trial: a short training with other hyper-parameters. {completed} of "
        f"{len(trials)} ran to their end, the others (hollow) were stopped early as unpromising. "
        f"Lower is better; the best reached {tuning.best_so_far(trials):.4g}.",
        "tuning",
        tuning.draw_history(trials, colour),
    )
    if len(importances):
        yield Drawn(
            f"{stage}_importances.png",
            f"{name}: what mattered",
            "Share of the objective's variance that each hyper-parameter explains over these "
            "trials (fANOVA). With few trials this is a hint, not a finding.",
            "tuning",
            tuning.draw_importances(importances, colour),
        )
    if tuning.parameters_of(trials):
        yield Drawn(
            f"{stage}_slices.png",
            f"{name}: one hyper-parameter at a time",
            "The same trials along each hyper-parameter; the others vary too.",
            "tuning",
            tuning.draw_slices(trials, colour),
        )


def _name_epochs(snapshots: Snapshots) -> str:
    """Return e.g. "after epoch 5 and after epoch 50"."""
    return " and ".join(f"after epoch {epoch}" for epoch in pictures.first_and_last(snapshots))
