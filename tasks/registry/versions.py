"""Versions of a registered model read back: nothing is used that is not what was registered."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from diffusevae.core.device import choose_device
from diffusevae.core.errors import InputError
from diffusevae.core.params import build
from diffusevae.core.readback import parse_json, read_again
from diffusevae.core.tensor_file import sha256_of
from diffusevae.experiments.experiment import Experiment
from diffusevae.metrics.promotion import Made
from diffusevae.models.diffusion import check_pair
from diffusevae.registered.own_code import PACKAGE, hash_code
from diffusevae.sampling.generation import generate, load_pair, refine
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.tracking.mlflow_store import connect
from tasks.registry.model_card import METRICS_ON_CARD
from tasks.registry.model_folder import MEND, fetch_model
from tasks.registry.own_process import describe_code, make_apart
from tasks.registry.registration import identify_images, name_model

HASHED = ("vae", "prior", "diffusevae")


@dataclass(frozen=True, eq=False)
class Version:
    """A version as it was registered: its tags, its files in a folder, and whose code runs it.

    code: that this is not the code at hand, and where its packages are others; else empty.
    """

    name: str
    number: str
    tags: dict[str, str]
    folder: Path
    code: str

    def make(self, images: Tensor, seed: int) -> Made:
        """Refine uint8 images (N x C x H x W) and generate as many, as the stage `sample` does.

        With the code that was registered with the version, in a process of its own where that is
        not the code at hand. Raises InputError where it fails there.
        """
        if self.code:
            return make_apart(self.folder, f"{self.name} version {self.number}", images, seed)
        vae, mixture, diffusevae = (
            self.folder / "artifacts" / f"{part}.safetensors" for part in HASHED
        )
        pair = load_pair(vae, mixture, diffusevae, choose_device())
        place = f"{self.name} version {self.number}: tag sampler"
        sampler = build(SamplerConfig, parse_json(self.tags["sampler"], place, MEND), place)
        _, refined = refine(pair, sampler, images, seed)
        _, generated = generate(pair, sampler, "gmm", len(images), seed)
        return Made(refined, generated)


@contextmanager
def load_version(experiment: Experiment, number: str) -> Iterator[Version]:
    """Yield a version of the experiment's model.

    Raises InputError, naming the version, where it does not exist, was made of other data, lacks a
    metric or a file, or a file is not the one that was registered.
    """
    from mlflow.exceptions import MlflowException

    name = name_model(experiment)
    try:
        tags = connect().get_model_version(name, number).tags
    except MlflowException as error:
        raise InputError(f"{name} version {number}: the registry has none") from error
    _require_comparable(experiment, f"{name} version {number}", tags)
    with tempfile.TemporaryDirectory() as folder:
        fetch_model(name, number, Path(folder))
        _check_files(Path(folder) / "artifacts", f"{name} version {number}", tags)
        yield Version(name, number, tags, Path(folder), describe_code(Path(folder), tags))


def _require_comparable(experiment: Experiment, what: str, tags: dict[str, str]) -> None:
    """Raise InputError unless the version is of this data set and its division.

    One of another may have been trained on what it would be judged by now.
    """
    expected = {"dataset": experiment.dataset} | identify_images(experiment)
    if "validation_sha256" not in tags:  # registered before there was such a tag
        del expected["validation_sha256"]
    for tag, value in expected.items():
        if tags.get(tag) != value:
            raise InputError(
                f"{what}: cannot be compared: its {tag} is "
                f"{tags.get(tag, 'unknown')[:20]}, here it is {value[:20]}"
            )
    needed = METRICS_ON_CARD[tags.get("sampler_chosen_by", "params")]
    if missing := [metric for metric in needed if metric not in tags]:
        raise InputError(f"{what}: cannot be compared: it has no {missing[0]}")


def _check_files(folder: Path, what: str, tags: dict[str, str]) -> None:
    for place in (PACKAGE, Path("requirements.txt")):
        if not (folder.parent / place).exists():
            raise InputError(f"{what}: has no {place}; {MEND}")
    for part in HASHED:
        path = folder / f"{part}.safetensors"
        if not path.is_file():
            raise InputError(f"{what}: has no {path.name}; {MEND}")
        if sha256_of(path) != tags.get(f"{part}_sha256"):
            raise InputError(f"{what}: {path.name} is not the file that was registered; {MEND}")
    if read_again(folder / "sampler.json", MEND) != tags.get("sampler"):
        raise InputError(f"{what}: sampler.json is not what was registered; {MEND}")
    code = hash_code(folder.parent / PACKAGE)
    if code != tags.get("code_sha256", code):
        raise InputError(f"{what}: its code is not what was registered; {MEND}")
    check_pair(folder / "diffusevae.safetensors", tags["vae_sha256"])
