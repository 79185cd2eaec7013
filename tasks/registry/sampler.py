"""The sampler that is registered with a model: params.yaml's, or the one that the frontier chose.

`registered_sampler` of an experiment says which. The frontier's choice counts only for the very
files and params that it was made with.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from diffusevae.core.errors import InputError
from diffusevae.core.params import build, leave_out_defaults, load_entry, load_sections
from diffusevae.core.readback import read_as
from diffusevae.core.tensor_file import sha256_of
from diffusevae.experiments.experiment import Experiment
from diffusevae.experiments.params_file import PARAMS_FILE, SamplerSource
from diffusevae.sampling.sampler_config import SamplerConfig


@dataclass(frozen=True)
class Choice:
    """The frontier's default.json: the sampler, what it was measured with, how it was confirmed.

    sampler is the one chosen on validation images (chosen, None: none) where the num_images test
    images confirmed it, else the converged one.
    """

    files: dict
    params: dict
    num_images: int
    converged: dict
    chosen: dict | None
    confirmed: bool
    confirmation: dict | None
    sampler: SamplerConfig
    measured: dict


@dataclass(frozen=True)
class RegisteredSampler:
    """A sampler and who chose it: "params" or "frontier".

    measured: the frontier's own numbers with it, on num_images test images; none by params.
    """

    config: SamplerConfig
    chosen_by: str
    measured: Mapping[str, float]
    num_images: int

    @property
    def text(self) -> str:
        """The sampler as JSON."""
        return json.dumps(asdict(self.config), sort_keys=True)


def find_sampler(experiment: Experiment) -> RegisteredSampler:
    """Return the sampler to register.

    Raises InputError where the frontier's is asked for, and there is none for these files and
    params.
    """
    params = load_sections(
        PARAMS_FILE,
        "experiments",
        experiment.name,
        {"registered_sampler": SamplerSource, "sampler": SamplerConfig},
    )
    if params.registered_sampler == "params":
        return RegisteredSampler(params.sampler, "params", {}, 0)
    return _read_choice(experiment)


def find_weights(experiment: Experiment) -> dict[str, Path]:
    """Return the files of the models that are registered together, by name."""
    return {
        "vae": experiment.output("train_vae", "model.safetensors"),
        "prior": experiment.output("train_vae", "prior.safetensors"),
        "diffusevae": experiment.output("train_diffusevae", "model.safetensors"),
    }


def _read_choice(experiment: Experiment) -> RegisteredSampler:
    path = experiment.output("frontier", "default.json")
    asked = f"{PARAMS_FILE} experiments.{experiment.name}.registered_sampler: frontier"
    mend = f"run `dvc repro frontier@{experiment.name}`, then this again, or set it to params"
    if not path.is_file():
        raise InputError(f"{asked}, but there is no {path}; {mend}")
    found = read_as(Choice, path, f"{asked}: {mend}")
    entry = load_entry(PARAMS_FILE, "experiments", experiment.name)
    files = find_weights(experiment)
    files["classifier"] = experiment.data("train_classifier", "model.safetensors")
    sampler = leave_out_defaults(build(SamplerConfig, entry["sampler"], asked))
    now = {
        "files": {name: sha256_of(path) for name, path in files.items()},
        "params": {"seed": entry["seed"], "sampler": sampler, "frontier": entry["frontier"]},
    }
    for part, value in now.items():
        if getattr(found, part) != value:
            raise InputError(f"{asked}, but {path} was made with other {part}; {mend}")
    measured = {
        name: build(float, value, f"{path} measured {name[:40]}")
        for name, value in found.measured.items()
    }
    return RegisteredSampler(found.sampler, "frontier", measured, found.num_images)
