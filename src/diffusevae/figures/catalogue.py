"""Every figure of an experiment, in the order of the report, each with a caption for a stranger.

Pure: what the stages made in, drawn figures out. The list: docs/study.md, section 8.
"""

from collections.abc import Iterator

import pandas as pd

from diffusevae.figures import curve_figures as curves
from diffusevae.figures import image_figures as pictures
from diffusevae.figures import tuning_figures as tuning
from diffusevae.figures.model_catalogue import draw_diffusion, draw_vae, name_epochs
from diffusevae.figures.results import Drawn, FiguresConfig, Results
from diffusevae.metrics.labels import MODEL_NAMES, WAYS

# Way to generate, images in a row and in a column, model: as the study has them, side by side.
GRIDS = (("vae_prior", 8, "vae"), ("ddpm", 10, "ddpm"))


def draw_all(results: Results, config: FiguresConfig, seed: int) -> Iterator[Drawn]:
    """Yield every figure this experiment can make; the first one is its hero picture.

    Draw within `drawing.figure_style()`.
    """
    yield from _draw_results(results, config.num_images)
    yield from _draw_grids(results)
    yield _draw_data(results, config.num_images)
    yield from _draw_measurements(results)
    yield from draw_vae(results, config, seed)
    yield from draw_diffusion(results, config.num_images, seed)
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
            f"The same images refined {name_epochs(snapshots)}, from the same noise and the same "
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


def _draw_grids(results: Results) -> Iterator[Drawn]:
    """Yield many new images of both models that start from noise alone, to be seen together."""
    for way, side, model in GRIDS:
        shown = results.generated[way][: side**2]
        yield Drawn(
            f"{model}_grid.png",
            f"{MODEL_NAMES[model]}: {len(shown)} new images",
            f"{WAYS[way][0]}. The first {len(shown)} of {results.metrics['num_generated']:,}, "
            "none picked.",
            "pictures",
            pictures.draw_grid(shown, side, model, WAYS[way][0]),
        )


def _draw_data(results: Results, num_images: int) -> Drawn:
    return Drawn(
        "classes.png",
        "What there is to learn",
        f"The first {num_images} test images of each class, as the models get them. No model sees "
        "these in training.",
        "pictures",
        pictures.draw_classes(results.pairs["real"], results.pairs["labels"], num_images),
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
