"""The autoencoder family: every member trained, measured and compared. Of the latent studies.

python -m diffusevae.stages autoencoders latents_smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --test data/prepared/mnist_tiny/test.safetensors \\
    --other_train data/prepared/fashion_mnist_tiny/train.safetensors \\
    --other_test data/prepared/fashion_mnist_tiny/test.safetensors \\
    --classifier data/train_classifier/mnist_tiny/model.safetensors \\
    --train_vae artifacts/smoke/train_vae --train_diffusevae artifacts/smoke/train_diffusevae \\
    --nuclei data/raw/nuclei --out artifacts/latents_smoke/autoencoders
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusevae.core.device import choose_device
from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import load_split
from diffusevae.figures.drawing import figure_style
from diffusevae.latents.autoencoders.family import TITLE, FamilyConfig, Given, study_family
from diffusevae.latents.autoencoders.other_data import divide
from diffusevae.latents.autoencoders.part import Data, Fitting, write_parts
from diffusevae.latents.autoencoders.scenes import FILES
from diffusevae.latents.models.threads import use_one_thread
from diffusevae.latents.page.chapter import name_metrics
from diffusevae.models.classifier import load_classifier
from diffusevae.models.diffusion import check_pair, load_diffusion
from diffusevae.models.vae import load_vae
from diffusevae.sampling.samplers import check_guidance
from diffusevae.training.loop import Model
from diffusevae.training.stage_trainings import open_trainings

ROOT = "latent_studies"
SECTIONS = {"seed": int, "dataset": str, "other_dataset": str, "autoencoders": FamilyConfig}


def run(
    params,
    *,
    train: Path,
    validation: Path,
    test: Path,
    other_train: Path,
    other_test: Path,
    classifier: Path,
    train_vae: Path,
    train_diffusevae: Path,
    nuclei: Path,
    out: Path,
    log,
) -> None:
    """Write the chapter with its figures and tables to `out`. Raises InputError."""
    use_one_thread()
    device = choose_device()
    log.dataset(train, "training")
    config = params.autoencoders
    tested = load_split(test)
    num_test = config.num_test_images
    data = Data(
        params.dataset,
        load_split(train).images[: config.num_train_images].to(device),
        load_split(validation).images[: config.num_validation_images].to(device),
        tested.images[:num_test].to(device),
        tested.labels[:num_test],
        params.seed,
    )
    other = divide(
        params.other_dataset,
        load_split(other_train).images.to(device),
        load_split(other_test).images.to(device),
        data,
    )
    vae, diffusevae = (f / "model.safetensors" for f in (train_vae, train_diffusevae))
    check_pair(diffusevae, sha256_of(vae))
    given = Given(
        data,
        other,
        load_classifier(classifier, device),
        load_vae(vae, device),
        load_diffusion(diffusevae, device),
        nuclei,
    )
    _check_sizes(given)
    check_guidance(config.interpolation.sampler, given.diffusevae.p_uncond)
    models: dict[str, Any] = {}  # each what its fitting makes
    sources = [train, validation, other_train, *(nuclei / name for name in FILES)]

    with open_trainings("autoencoders", params, sources, device, log) as open_one:

        def train_one(name: str, facts: Mapping[str, object], fit: Fitting[Model]) -> Model:
            """Train under a name, or return what was trained under it."""
            if name not in models:
                with open_one(name, facts) as training:
                    models[name], history = fit(training.callbacks(), training.checkpointer)
                    training.log.summary(
                        {"validation_loss": min(row["validation_loss"] for row in history)}
                    )
            return models[name]

        with figure_style():
            parts = study_family(config, given, train_one)
            write_parts(out, TITLE, parts)
        log.summary(name_metrics({one.name: one.value for part in parts for one in part.headlines}))
        for part in parts:
            for sentence in part.summary:
                log.message(sentence)
    log.artifact(out)


def _check_sizes(given: Given) -> None:
    """Raise InputError where models and data sets are of images of different shapes."""
    shape = tuple(given.data.train.shape[1:])
    for what, found in (
        ("the other data set", given.other.train.shape[1:]),
        ("the classifier", given.classifier.image_shape),
        ("the VAE", given.first_stage.image_shape),
    ):
        if tuple(found) != shape:
            raise InputError(
                f"autoencoders: {what} has images of "
                f"{' x '.join(map(str, found))}, the data set "
                f"{' x '.join(map(str, shape))}; choose ones of the same shape"
            )
