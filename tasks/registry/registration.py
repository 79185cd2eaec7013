"""Operations on MLflow's model registry: one version holds a VAE and its DiffuseVAE together."""

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import load_tensors, sha256_of
from diffusevae.experiments.experiment import Experiment
from diffusevae.models.diffusion import check_pair
from diffusevae.registered.own_code import hash_code
from diffusevae.tracking.mlflow_store import connect
from diffusevae.tracking.stage_logger import NOTE
from tasks.links import link_repository
from tasks.parent_run import active_run, git_tags, mlflow_failures
from tasks.registry.model_card import ABOUT, METRICS_ON_CARD, measure_version, write_card
from tasks.registry.model_folder import (
    CODE,
    CONSTRAINTS,
    REQUIREMENTS,
    add_hashes,
    copy_code,
    copy_loader,
    fetch_model,
    hash_own_files,
    pin,
)
from tasks.registry.sampler import find_sampler, find_weights
from tasks.report.publication import describe_device

if TYPE_CHECKING:  # imported where used: MLflow takes seconds
    from mlflow import MlflowClient

MODEL_PREFIX = "diffusevae-"
RECORDED = "recorded"  # the tag of a version whose run came to its end


@dataclass(frozen=True)
class Registered:
    """A version in the registry."""

    name: str
    version: str
    model_id: str


def find_version(experiment: Experiment) -> Registered | None:
    """Return the version that holds exactly what the experiment has made, if there is one."""
    return find_tagged(name_model(experiment), _identity(experiment))


def find_tagged(name: str, wanted: Mapping[str, str]) -> Registered | None:
    """Return a version of a model that has these tags and sound files, if there is one."""
    with mlflow_failures():
        for version in connect().search_model_versions(f"name = '{name}'"):
            if wanted.items() <= version.tags.items() and _is_sound(name, str(version.version)):
                return Registered(version.name, str(version.version), _model_id(version.source))
    return None


def _is_sound(name: str, version: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            fetch_model(name, version, Path(folder))
        except InputError as error:
            get_run_logger().warning(f"{error}: it does not count")
            return False
    return True


@task(task_run_name="register", cache_policy=NO_CACHE)
def register(experiment: Experiment, parent_run: str) -> Registered:
    """Register what an experiment has made, unless a version holds exactly that already.

    Raises InputError where DiffuseVAE was trained on another VAE or there is no sampler to register
    (`find_sampler`), EnvironmentFailure where MLflow fails.
    """
    say = get_run_logger().info
    if found := find_version(experiment):
        say(f"{found.name} version {found.version} holds these models already")
        return found
    weights = find_weights(experiment)
    check_pair(weights["diffusevae"], sha256_of(weights["vae"]))
    with mlflow_failures():
        client = connect()
        model_id = _log_model(experiment, parent_run)
        name, tags, card = _describe_version(client, experiment, parent_run)
        about = ABOUT.format(experiment=experiment) + link_repository()
        version = create_version(client, name, parent_run, model_id, tags, card, about)
    say(f"registered {version.name} version {version.version}")
    return version


def name_model(experiment: Experiment) -> str:
    """Return the name of the experiment's registered model."""
    return f"{MODEL_PREFIX}{experiment.name}"


def identify_images(experiment: Experiment) -> dict[str, str]:
    """Return the SHA-256 of the test images that its metrics are of, and of the validation ones."""
    real = load_tensors(experiment.output("sample", "pairs.safetensors"))["real"]
    return {
        "test_sha256": hashlib.sha256(real.contiguous().numpy().tobytes()).hexdigest(),
        "validation_sha256": sha256_of(experiment.data("prepared", "validation.safetensors")),
    }


def describe_environment() -> dict[str, str]:
    """Return what, besides data, code and params, can change results."""
    import torch

    constraints = hashlib.sha256(CONSTRAINTS.read_bytes()).hexdigest()[:12]
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "constraints.txt": constraints,
        "device": describe_device(),
        "threads": str(torch.get_num_threads()),
    }


def _model_id(source: str) -> str:
    """Return the id in models:/<id>; the version's own field is empty when it is read back."""
    return source.removeprefix("models:/")


def _identity(experiment: Experiment) -> dict[str, str]:
    """Return the tags by which one version's content is told from another's."""
    sampler = find_sampler(experiment)
    hashes = {f"{name}_sha256": sha256_of(path) for name, path in find_weights(experiment).items()}
    return hashes | {
        "code_sha256": hash_code(CODE),
        "sampler": sampler.text,
        "sampler_chosen_by": sampler.chosen_by,
    }


def _log_model(experiment: Experiment, parent_run: str) -> str:
    """Store the model with the parent run; return its id."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    real = load_tensors(experiment.output("sample", "pairs.safetensors"))["real"].numpy()
    images = Schema([TensorSpec(real.dtype, (-1, *real.shape[1:]))])
    single = [ParamSpec(name, DataType.long, 0) for name in ("num_images", "seed")]
    numbers = ParamSchema([*single, ParamSpec("labels", DataType.long, [], shape=(-1,))])
    with tempfile.TemporaryDirectory() as folder, active_run(parent_run):
        code, loader = copy_code(Path(folder)), copy_loader(Path(folder), "pyfunc_model")
        files = add_hashes(_gather(experiment, Path(folder)), code, loader)
        info = mlflow.pyfunc.log_model(
            name="diffusevae",
            python_model=str(loader),
            code_paths=[str(code)],
            artifacts={name: str(path) for name, path in files.items()},
            signature=ModelSignature(images, images, numbers),
            input_example=(real[:2], {"num_images": 0, "seed": 0, "labels": []}),
            pip_requirements=pin(REQUIREMENTS),
        )
    return info.model_id


def _gather(experiment: Experiment, folder: Path) -> dict[str, Path]:
    """Copy what the model consists of to one folder, by the names it has there."""
    files = {name: folder / f"{name}.safetensors" for name in find_weights(experiment)}
    for name, source in find_weights(experiment).items():
        shutil.copyfile(source, files[name])
    files["sampler"] = folder / "sampler.json"
    files["sampler"].write_text(find_sampler(experiment).text, encoding="utf-8")
    return files


def _describe_version(
    client: "MlflowClient", experiment: Experiment, parent_run: str
) -> tuple[str, dict[str, str], str]:
    """Return the model's name, the version's tags and its card."""
    sampler = find_sampler(experiment)
    metrics = measure_version(experiment)
    shown = {
        key: f"{metrics[key]:.6g}" for key in METRICS_ON_CARD[sampler.chosen_by] if key in metrics
    }
    tags = _identity(experiment) | _training_runs(client, experiment) | shown
    tags |= git_tags() | {
        "dataset": experiment.dataset,
        "parent_run": parent_run,
        **identify_images(experiment),
        "environment": json.dumps(describe_environment()),
    }
    card = write_card(experiment, sampler, shown, client.get_run(parent_run))
    return name_model(experiment), tags, card


def create_version(
    client: "MlflowClient",
    name: str,
    parent_run: str,
    model_id: str,
    tags: dict[str, str],
    card: str,
    about: str,
) -> Registered:
    """Make a version of a logged model, with its card; also the model, about it, if it is new."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    try:
        client.create_registered_model(name, description=about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = tags | hash_own_files(model_id)
    version = client.create_model_version(
        name, f"models:/{model_id}", parent_run, tags, description=card, model_id=model_id
    )
    names = json.dumps([{"name": name, "version": version.version}])
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: names, NOTE: card})
    return Registered(name, str(version.version), model_id)


def is_recorded(version: Registered) -> bool:
    """Return whether a run has recorded what belongs to a version to its end."""
    with mlflow_failures():
        return RECORDED in connect().get_model_version(version.name, version.version).tags


def mark_recorded(version: Registered, parent_run: str) -> None:
    """Note that metrics and files of a version are recorded, all of them, in a parent run."""
    connect().set_model_version_tag(version.name, version.version, RECORDED, parent_run)


def _training_runs(client: "MlflowClient", experiment: Experiment) -> dict[str, str]:
    """Return the stage runs that trained the weights, by their hash, as far as known here."""
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = {}
    for name, stage in (("vae", "train_vae"), ("diffusevae", "train_diffusevae")):
        digest = sha256_of(find_weights(experiment)[name])
        if found := client.search_runs(
            experiments, f"tags.model_sha256 = '{digest}'", max_results=1
        ):
            runs[f"{stage}_run"] = found[0].info.run_id
    return runs
