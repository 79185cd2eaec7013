"""What the report of an experiment is made of, read from the folders of its stages."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from diffusevae.core.errors import InputError
from diffusevae.core.readback import read_as, read_png
from diffusevae.core.tensor_file import load_config, load_tensors, sha256_of
from diffusevae.core.yaml_file import read_yaml
from diffusevae.data.dataset import DatasetConfig
from diffusevae.metrics.measured import read_history, read_metrics, read_trials
from diffusevae.report.experiment_page import ReportInputs, TrainedModel
from diffusevae.report.page import ShownPicture
from diffusevae.report.reference_study import Scale

# Sections of an experiment that the report shows, as they are in params.yaml.
SHOWN_SECTIONS = (
    "vae",
    "vae_optimiser",
    "tune_vae",
    "train_vae",
    "prior",
    "diffusion",
    "unet",
    "diffusion_optimiser",
    "tune_ddpm",
    "train_ddpm",
    "train_diffusevae",
    "sampler",
    "sample",
    "evaluate",
    "figures",
)


@dataclass(frozen=True)
class Caption:
    """What the stage figures says of a picture, and the section of the report it belongs to."""

    file: str
    title: str
    caption: str
    section: str


def load_inputs(params: SimpleNamespace, train: Path, stages: Mapping[str, Path]) -> ReportInputs:
    """Return them; `stages` has the folder of each by its name. Raises InputError."""
    images = DatasetConfig(**load_config(train))
    metrics = read_metrics(stages["evaluate"] / "metrics.json")
    searches = {name: stages[name] for name in ("tune_vae", "tune_ddpm")}
    return ReportInputs(
        experiment=params.key,
        source=images.source,
        scale=Scale(
            images.num_train,
            params.train_vae["epochs"],
            params.train_diffusevae["epochs"],
            metrics["num_images"],
        ),
        params={name: getattr(params, name) for name in ("dataset", "seed", *SHOWN_SECTIONS)},
        metrics=metrics,
        pictures=_read_pictures(stages["figures"]),
        models={
            name: _load_model(stages[f"train_{name}"]) for name in ("vae", "ddpm", "diffusevae")
        },
        latent_shape=load_config(stages["train_vae"] / "prior.safetensors")["latent_shape"],
        best={stage: _read_best(folder, params) for stage, folder in searches.items()},
        num_trials={stage: len(read_trials(folder)) for stage, folder in searches.items()},
    )


def _read_best(search: Path, params: SimpleNamespace) -> Mapping[str, Mapping]:
    """Return a search's best.yaml. Raises InputError where params.yaml lacks what it names."""
    path = search / "best.yaml"
    best = read_yaml(path)
    for section, values in best.items():
        base = getattr(params, str(section), None)
        if not isinstance(values, Mapping) or not isinstance(base, Mapping) or values.keys() - base:
            raise InputError(
                f"{path} {section}: is no section with values of params.yaml; make it "
                f"again with the stage {search.name}"
            )
    return best


def _read_pictures(figures: Path) -> list[ShownPicture]:
    """Return the pictures in a folder of the stage figures. Raises InputError."""
    path, mend = figures / "captions.json", "make it again with the stage figures"
    pictures = []
    for caption in read_as(tuple[Caption, ...], path, mend):
        png = read_png(figures / caption.file, mend)
        pictures.append(ShownPicture(caption.title, caption.caption, caption.section, png))
    return pictures


def _load_model(folder: Path) -> TrainedModel:
    """Return what the report says of the model in a training stage's folder."""
    path = folder / "model.safetensors"
    num_parameters = sum(tensor.numel() for tensor in load_tensors(path).values())
    return TrainedModel(sha256_of(path), num_parameters, load_config(path), read_history(folder))
