"""What the study of the family starts from, its trainings, and what it leaves."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from diffusevae.core.errors import InputError
from diffusevae.core.stage_log import StageLog
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import load_split
from diffusevae.figures.drawing import figure_style
from diffusevae.latents.autoencoders.family import TITLE, FamilyConfig, Given, study_family
from diffusevae.latents.autoencoders.other_data import divide
from diffusevae.latents.autoencoders.part import Data, Fitting, Train, write_parts
from diffusevae.latents.autoencoders.scenes import FILES
from diffusevae.latents.page.chapter import name_metrics
from diffusevae.models.classifier import load_classifier
from diffusevae.models.diffusion import check_pair, load_diffusion
from diffusevae.models.vae import load_vae
from diffusevae.sampling.sampler_config import check_guidance
from diffusevae.training.loop import Model
from diffusevae.training.stage_trainings import OpenTraining


def load_given(
    params: SimpleNamespace,
    sets: Mapping[str, Path],
    classifier: Path,
    train_vae: Path,
    train_diffusevae: Path,
    nuclei: Path,
    device: torch.device,
) -> Given:
    """Return what other stages made; `sets` are splits by the names that the stage has for them.

    Raises InputError where the pieces do not fit together.
    """
    vae, diffusevae = (f / "model.safetensors" for f in (train_vae, train_diffusevae))
    check_pair(diffusevae, sha256_of(vae))
    data, other = _load_sets(params, sets, device)
    given = Given(
        data,
        other,
        load_classifier(classifier, device),
        load_vae(vae, device),
        load_diffusion(diffusevae, device),
        nuclei,
    )
    _check_sizes(given)
    check_guidance(params.autoencoders.interpolation.sampler, given.diffusevae.p_uncond)
    return given


def list_sources(sets: Mapping[str, Path], nuclei: Path) -> list[Path]:
    """Return the files that trainings of the family depend on."""
    trained_on = [sets[name] for name in ("train", "validation", "other_train")]
    return [*trained_on, *(nuclei / name for name in FILES)]


def save_family(
    out: Path, config: FamilyConfig, given: Given, open_one: OpenTraining, log: StageLog
) -> None:
    """Train and measure every part; write the chapter with its figures and tables."""
    with figure_style():
        parts = study_family(config, given, _train_once(open_one))
        write_parts(out, TITLE, parts)
    log.summary(name_metrics({one.name: one.value for part in parts for one in part.headlines}))
    for part in parts:
        for sentence in part.summary:
            log.message(sentence)


def _train_once(open_one: OpenTraining) -> Train:
    models: dict[str, Any] = {}  # each what its fitting makes

    def train_one(name: str, facts: Mapping[str, object], fit: Fitting[Model]) -> Model:
        """Train under a name, or return what was trained under it."""
        if name not in models:
            with open_one(name, facts) as training:
                models[name], history = fit(training.callbacks(), training.checkpointer)
                least = min(row["validation_loss"] for row in history)
                training.log.summary({"validation_loss": least})
        return models[name]

    return train_one


def _load_sets(
    params: SimpleNamespace, sets: Mapping[str, Path], device: torch.device
) -> tuple[Data, Data]:
    """Return the data set that most parts work on, and the one of another kind."""
    config = params.autoencoders
    tested = load_split(sets["test"])
    num_test = config.num_test_images
    data = Data(
        params.dataset,
        load_split(sets["train"]).images[: config.num_train_images].to(device),
        load_split(sets["validation"]).images[: config.num_validation_images].to(device),
        tested.images[:num_test].to(device),
        tested.labels[:num_test],
        params.seed,
    )
    known, unseen = (
        load_split(sets[name]).images.to(device) for name in ("other_train", "other_test")
    )
    return data, divide(params.other_dataset, known, unseen, data)


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
