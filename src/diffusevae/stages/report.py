"""Write the report of an experiment: one HTML file that needs nothing else.

python -m diffusevae.stages report smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --figures artifacts/smoke/figures --evaluate artifacts/smoke/evaluate \\
    --train_vae artifacts/smoke/train_vae --train_ddpm artifacts/smoke/train_ddpm \\
    --train_diffusevae artifacts/smoke/train_diffusevae \\
    --tune_vae artifacts/smoke/tune_vae --tune_ddpm artifacts/smoke/tune_ddpm \\
    --out artifacts/smoke/report
"""

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
from diffusevae.report.experiment_page import ReportInputs, TrainedModel, build_report
from diffusevae.report.page import ShownPicture
from diffusevae.report.reference_study import Scale

ROOT = "experiments"
SECTIONS = {"dataset": str, "seed": int} | dict.fromkeys(
    (
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
    ),
    dict,
)


@dataclass(frozen=True)
class Caption:
    """What the stage figures says of a picture, and the section of the report it belongs to."""

    file: str
    title: str
    caption: str
    section: str


def run(
    params,
    *,
    train: Path,
    figures: Path,
    evaluate: Path,
    train_vae: Path,
    train_ddpm: Path,
    train_diffusevae: Path,
    tune_vae: Path,
    tune_ddpm: Path,
    out: Path,
    log,
) -> None:
    """Write report.html to `out`."""
    images = DatasetConfig(**load_config(train))
    metrics = read_metrics(evaluate / "metrics.json")
    searches = {"tune_vae": tune_vae, "tune_ddpm": tune_ddpm}
    inputs = ReportInputs(
        experiment=params.key,
        source=images.source,
        scale=Scale(
            images.num_train,
            params.train_vae["epochs"],
            params.train_diffusevae["epochs"],
            metrics["num_images"],
        ),
        params={name: getattr(params, name) for name in SECTIONS},
        metrics=metrics,
        pictures=read_pictures(figures),
        models={
            "vae": load_model(train_vae),
            "ddpm": load_model(train_ddpm),
            "diffusevae": load_model(train_diffusevae),
        },
        latent_shape=load_config(train_vae / "prior.safetensors")["latent_shape"],
        best={stage: read_best(folder, params) for stage, folder in searches.items()},
        num_trials={stage: len(read_trials(folder)) for stage, folder in searches.items()},
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.html").write_text(build_report(inputs), encoding="utf-8")
    log.artifact(out / "report.html")


def read_best(search: Path, params: SimpleNamespace) -> Mapping[str, Mapping]:
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


def read_pictures(figures: Path) -> list[ShownPicture]:
    """Return the pictures in a folder of the stage figures. Raises InputError."""
    path, mend = figures / "captions.json", "make it again with the stage figures"
    pictures = []
    for caption in read_as(tuple[Caption, ...], path, mend):
        png = read_png(figures / caption.file, mend)
        pictures.append(ShownPicture(caption.title, caption.caption, caption.section, png))
    return pictures


def load_model(folder: Path) -> TrainedModel:
    """Return what the report says of the model in a training stage's folder."""
    path = folder / "model.safetensors"
    num_parameters = sum(tensor.numel() for tensor in load_tensors(path).values())
    return TrainedModel(sha256_of(path), num_parameters, load_config(path), read_history(folder))
