"""Versions of a registered model read back: nothing is used that is not what was registered."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffusevae.checkpoint import sha256_of
from diffusevae.device import choose_device
from diffusevae.diffusion import DiffusionModel, load_diffusion
from diffusevae.errors import InputError
from diffusevae.experiment import Experiment
from diffusevae.gate import Made
from diffusevae.generation import check_pair
from diffusevae.mlflow_store import connect
from diffusevae.params import build
from diffusevae.prior import Prior, load_prior
from diffusevae.randomness import generator
from diffusevae.sampling import SamplerConfig, sample
from diffusevae.vae import VAE, load_vae
from diffusevae.vae_training import reconstruct_all
from tasks.registry import METRICS_ON_CARD, identify_test_images, name_model

HASHED = ("vae", "prior", "diffusevae")


@dataclass(frozen=True, eq=False)
class Version:
    """A version's models in memory, and its tags."""

    name: str
    number: str
    tags: dict[str, str]
    vae: VAE
    prior: Prior
    diffusevae: DiffusionModel
    sampler: SamplerConfig

    def make(self, images: Tensor, seed: int) -> Made:
        """Refine uint8 images (N x C x H x W) and generate as many, as the stage `sample` does."""
        device = choose_device()
        x_hat = reconstruct_all(self.vae, images.to(device))
        codes = self.prior.sample(len(images), generator(seed, "generate", "gmm"))
        with torch.inference_mode():
            decoded = torch.cat([self.vae.decode(part.to(device)) for part in codes.split(500)])
        return Made(*(sample(self.diffusevae, self.sampler, len(images), seed + i, condition)
                      for i, condition in enumerate((x_hat, decoded))))  # fmt: skip


@contextmanager
def load_version(experiment: Experiment, number: str) -> Iterator[Version]:
    """Yield a version of the experiment's model.

    Raises InputError, naming the version, where it does not exist, was made of other data, lacks a
    metric or a file, or a file is not the one that was registered.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    name = name_model(experiment)
    try:
        tags = connect().get_model_version(name, number).tags
    except MlflowException as error:
        raise InputError(f"{name} version {number}: the registry has none") from error
    _require_comparable(experiment, f"{name} version {number}", tags)
    with tempfile.TemporaryDirectory() as folder:
        try:
            download_artifacts(f"models:/{name}/{number}", dst_path=folder)
        except (MlflowException, OSError) as error:
            raise InputError(f"{name} version {number}: its files cannot be had "
                             f"({type(error).__name__}); delete the version") from error
        yield _load(Path(folder) / "artifacts", name, number, tags)


def _require_comparable(experiment: Experiment, what: str, tags: dict[str, str]) -> None:
    """Raise InputError unless the version was measured on this data set and these test images."""
    expected = {"dataset": experiment.dataset, "test_sha256": identify_test_images(experiment)}
    for tag, value in expected.items():
        if tags.get(tag) != value:
            raise InputError(f"{what}: cannot be compared: its {tag} is "
                             f"{tags.get(tag, 'unknown')[:20]}, here it is {value[:20]}")
    needed = METRICS_ON_CARD[tags.get("sampler_chosen_by", "params")]
    if missing := [metric for metric in needed if metric not in tags]:
        raise InputError(f"{what}: cannot be compared: it has no {missing[0]}")


def _load(folder: Path, name: str, number: str, tags: dict[str, str]) -> Version:
    what = f"{name} version {number}"
    for part in HASHED:
        path = folder / f"{part}.safetensors"
        if not path.is_file():
            raise InputError(f"{what}: has no {path.name}; delete the version")
        if sha256_of(path) != tags.get(f"{part}_sha256"):
            raise InputError(f"{what}: {path.name} is not the file that was registered; delete "
                             "the version")  # fmt: skip
    if (folder / "sampler.json").read_text(encoding="utf-8") != tags.get("sampler"):
        raise InputError(f"{what}: sampler.json is not what was registered; delete the version")
    device = choose_device()
    check_pair(folder / "diffusevae.safetensors", tags["vae_sha256"])
    return Version(
        name, number, tags, load_vae(folder / "vae.safetensors", device),
        load_prior(folder / "prior.safetensors"),
        load_diffusion(folder / "diffusevae.safetensors", device),
        build(SamplerConfig, json.loads(tags["sampler"]), what),
    )  # fmt: skip
