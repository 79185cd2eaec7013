"""What a registered model's card says: what it is, its sampler, and what was measured with it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from diffusevae.experiments.experiment import Experiment
from tasks.links import describe_making
from tasks.parent_run import git_tags, read_metrics
from tasks.registry.data_card import write_data_card
from tasks.registry.sampler import RegisteredSampler, find_sampler, find_weights

if TYPE_CHECKING:  # MLflow takes seconds to import
    from mlflow.entities import Run

# By who chose the sampler: what the stage evaluate measured on test images with params.yaml's, or
# of that only what no sampler has a part in, beside what the frontier measured with its choice.
METRICS_ON_CARD = {
    "params": (
        "diffusevae_mse",
        "diffusevae_ssim",
        "diffusevae_hist_sim",
        "vae_mse",
        "diffusevae_gmm_frechet",
        "vae_prior_frechet",
    ),
    "frontier": (
        "frontier_diffusevae_frechet",
        "frontier_diffusevae_ssim",
        "vae_mse",
        "vae_prior_frechet",
    ),
}
CLASSES = (
    '- `predict(images, params={{"labels": [0, 1]}})`: a new image of each of these classes, of 0 '
    "to {last}.\n"
)
MEASURED = {
    "params": " with it on held-out test images",
    "frontier": " with it on {count} held-out test images by the stage frontier (frontier_...); "
    "the VAE alone, by the stage evaluate",
}
ABOUT = """\
A VAE, the density of its codes, and the DiffuseVAE that refines what it decodes: the models of \
experiment `{experiment.name}`, data set `{experiment.dataset}`. The alias `champion` is on the \
best version, judged on the same validation images. A version's page says what data and code made \
it, how good it is, and how to make it again; `diffusevae compare {experiment.name}` holds two \
side by side.
"""
CARD = """\
# DiffuseVAE of experiment {experiment}, data set {dataset}

A frozen VAE reconstructs an image or decodes a code drawn from a Gaussian mixture; a diffusion \
model conditioned on that refines it. Both are in this version, with the sampler's settings.

- `predict(images)`: images B x {shape}, float32 in [0, 1], refined.
- `predict(images, params={{"num_images": 16, "seed": 1}})`: 16 new images.
{classes}- Results are float32 in [0, 1], B x {shape}. The same seed gives the same images, \
on another device up to rounding (float32 on a CPU, bfloat16 on a GPU unless told otherwise).
- Training draws its noise on its device: trained again on another, the weights differ.

Its sampler, chosen by {chosen_by}: {sampler}

Measured{measured} (Frechet distance: features of the data set's own classifier, not Inception; \
comparable only within this data set):

{metrics}

{data}
Meant for research on images like its data set's; it knows nothing else.

## Made from, and how to make it again

Data: the hashes above. {making} `diffusevae reproduce diffusevae-{experiment}/N`, N this \
version's number, checks that commit out into a folder of its own, runs it and compares every file \
with that `dvc.lock`; `make run EXPERIMENT={experiment}` makes a new version of the code at hand.
"""


def measure_version(experiment: Experiment) -> dict[str, float]:
    """Return the numbers that belong to the model with the sampler that is registered with it.

    Those of the stage evaluate, or, where the frontier chose, of them only the VAE's, and its own.
    """
    sampler = find_sampler(experiment)
    metrics = read_metrics(experiment.output("evaluate", "metrics.json"))
    if sampler.chosen_by == "params":
        return metrics
    alone = {name: value for name, value in metrics.items() if name.startswith("vae_")}
    return alone | {f"frontier_{name}": value for name, value in sampler.measured.items()}


def write_card(
    experiment: Experiment, sampler: RegisteredSampler, metrics: Mapping[str, str], run: "Run"
) -> str:
    """Return the card's Markdown; metrics: the numbers that it shows, by name."""
    from diffusevae.models.diffusion import load_diffusion
    from diffusevae.models.latent_mixture import load_mixture

    weights = find_weights(experiment)
    shape = load_diffusion(weights["diffusevae"]).unet.image_shape
    num_classes = load_mixture(weights["prior"]).num_classes
    rows = "\n".join(f"- {name}: {value}" for name, value in metrics.items())
    return CARD.format(
        experiment=experiment.name,
        dataset=experiment.dataset,
        metrics=rows,
        making=describe_making(run, experiment.name, git_tags().get("git_commit", "")),
        data=write_data_card(experiment),
        shape=" x ".join(map(str, shape)),
        classes=CLASSES.format(last=num_classes - 1) if num_classes else "",
        sampler=sampler.text,
        chosen_by="params.yaml" if sampler.chosen_by == "params" else "the stage frontier",
        measured=MEASURED[sampler.chosen_by].format(count=sampler.num_images),
    )
