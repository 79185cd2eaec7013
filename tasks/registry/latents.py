"""The registered model of a latent study: what `make explore` needs, in one version.

Its files are diffusevae.latents.page.exploring.FILES: the beta-VAE, what its latents mean, the VAE
and the DiffuseVAE that refine what it decodes, the sampler, and a few test images to start from.
"""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import save_tensors, sha256_of
from diffusevae.data.dataset import load_split
from diffusevae.experiments.experiment import LatentStudy
from diffusevae.latents.page.exploring import FILES, Explorer, load_explorer
from diffusevae.registered.own_code import hash_code
from diffusevae.tracking.mlflow_store import connect
from tasks.links import describe_making, link_repository
from tasks.parent_run import active_run, git_tags, mlflow_failures, require_mlflow
from tasks.registry.model_folder import (
    CODE,
    REQUIREMENTS,
    add_hashes,
    copy_code,
    copy_loader,
    fetch_model,
    pin,
)
from tasks.registry.own_process import describe_code
from tasks.registry.registration import Registered, create_version, find_tagged
from tasks.registry.sampler import find_sampler

if TYPE_CHECKING:  # imported where used: MLflow takes seconds
    from mlflow.entities import Run

PREFIX = "latents-"
IMAGES_PER_CLASS = 2
ABOUT = """\
A beta-VAE of latent study `{study}`, data set `{dataset}`, with what each latent was measured to \
mean. A version's page says what made it; `diffusevae explore {study}` shows it with sliders.
"""
CARD = """\
# Latents of {study}, data set {dataset}

A beta-VAE of {size} numbers per image, what each of them was measured to do, and the DiffuseVAE \
of experiment {experiment}, which refines what it decodes. `make explore STUDY={study}` opens a \
page with a slider for each.

- `predict(codes)`: images decoded from codes B x {size}, most numbers within -3 to 3.
- `predict(codes, params={{"refine": True}})`: these refined.
- Results are float32 in [0, 1]. The same codes give the same images.

Latents, the most informative first (mean KL):

{meanings}

{making} Made again by `make latents STUDY={study}`.
"""


def name_model(study: LatentStudy) -> str:
    """Return the name of the study's registered model."""
    return PREFIX + study.name


def find_version(study: LatentStudy) -> Registered | None:
    """Return the version that holds exactly what the study has made, if there is one."""
    with tempfile.TemporaryDirectory() as folder:
        return find_tagged(name_model(study), _identify(_gather(study, Path(folder))))


@task(task_run_name="register", cache_policy=NO_CACHE)
def register(study: LatentStudy, parent_run: str) -> Registered:
    """Register what a study has made, unless a version holds exactly that already.

    Raises InputError where its parts do not belong together, EnvironmentFailure where MLflow fails.
    """
    say = get_run_logger().info
    with tempfile.TemporaryDirectory() as folder:
        files = _gather(study, Path(folder))
        tags = _identify(files)
        if found := find_tagged(name_model(study), tags):
            say(f"{found.name} version {found.version} holds these models already")
            return found
        explorer = load_explorer(Path(folder), {})
        with mlflow_failures():
            model_id = _log_model(explorer, files, parent_run)
            tags |= git_tags() | {
                "dataset": study.dataset,
                "experiment": study.experiment.name,
                "parent_run": parent_run,
            }
            client = connect()
            version = create_version(
                client,
                name_model(study),
                parent_run,
                model_id,
                tags,
                _write_card(study, explorer, client.get_run(parent_run)),
                ABOUT.format(study=study.name, dataset=study.dataset) + link_repository(),
            )
    say(f"registered {version.name} version {version.version}")
    return version


def download(name: str, folder: Path) -> Explorer:
    """Return what the newest version of a model holds, fetched from the registry into a folder.

    `name` is a latent study's, or a registered model's. Raises InputError where there is no such
    model, or it has no latents, EnvironmentFailure where MLflow does not answer.
    """
    require_mlflow()
    with mlflow_failures():
        client = connect()
        found = next(
            filter(
                None,
                (
                    client.search_model_versions(f"name = '{model}'")
                    for model in (PREFIX + name, name)
                ),
            ),
            None,
        )
        if not found:
            raise InputError(
                f"{name}: the registry has no model {PREFIX + name}; run `make latents` first"
            )
        version = max(found, key=lambda version: int(version.version))
        if "latents_sha256" not in version.tags:
            raise InputError(
                f"{version.name}: has no latents to move; name a latent study, such "
                "as `make explore STUDY=latents`"
            )
        fetched = fetch_model(version.name, str(version.version), folder)
    made_by = {"Model": f"{version.name} version {version.version}"}
    if code := describe_code(fetched, version.tags):
        made_by["Made with code"] = f"other than the version's, which is {code}"
    return load_explorer(fetched / "artifacts", made_by)


def _gather(study: LatentStudy, folder: Path) -> dict[str, Path]:
    """Copy what the model consists of to one folder, by the names it has there."""
    files = {name: folder / file for name, file in FILES.items()}
    experiment = study.experiment
    for name, source in {
        "latents": study.output("beta_vae", "model.safetensors"),
        "cards": study.output("beta_vae", "cards.csv"),
        "vae": experiment.output("train_vae", "model.safetensors"),
        "diffusevae": experiment.output("train_diffusevae", "model.safetensors"),
    }.items():
        shutil.copyfile(source, files[name])
    files["sampler"].write_text(find_sampler(experiment).text, encoding="utf-8")
    test = load_split(Path("data/prepared") / study.dataset / "test.safetensors")
    chosen = [
        int(index)
        for label in test.labels.unique()
        for index in (test.labels == label).nonzero()[:IMAGES_PER_CLASS]
    ]
    save_tensors(files["images"], {"images": test.images[chosen], "labels": test.labels[chosen]})
    return files


def _identify(files: dict[str, Path]) -> dict[str, str]:
    """Return the tags by which one version's content is told from another's."""
    hashes = {f"{name}_sha256": sha256_of(path) for name, path in files.items()}
    return hashes | {"code_sha256": hash_code(CODE)}


def _log_model(explorer: Explorer, files: dict[str, Path], parent_run: str) -> str:
    """Store the model with the parent run; return its id."""
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    codes = Schema([TensorSpec(np.dtype("float32"), (-1, explorer.latents))])
    images = Schema([TensorSpec(np.dtype("float32"), (-1, *explorer.model.shape))])
    refine = ParamSchema([ParamSpec("refine", DataType.boolean, False)])
    with tempfile.TemporaryDirectory() as folder, active_run(parent_run):
        code, loader = copy_code(Path(folder)), copy_loader(Path(folder), "pyfunc_latents")
        return mlflow.pyfunc.log_model(
            name="latents",
            python_model=str(loader),
            code_paths=[str(code)],
            artifacts={name: str(path) for name, path in add_hashes(files, code, loader).items()},
            signature=ModelSignature(codes, images, refine),
            input_example=(np.zeros((2, explorer.latents), np.float32), {"refine": False}),
            pip_requirements=pin((*REQUIREMENTS, "pandas")),
        ).model_id


def _write_card(study: LatentStudy, explorer: Explorer, run: "Run") -> str:
    meanings = "\n".join(f"- {card.title}: {card.detail}" for card in explorer.cards)
    return CARD.format(
        study=study.name,
        dataset=study.dataset,
        experiment=study.experiment.name,
        size=explorer.latents,
        meanings=meanings,
        making=describe_making(run, study.name, git_tags().get("git_commit", "")),
    )
