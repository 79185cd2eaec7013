"""Write the report of an experiment: one HTML file that needs nothing else.

python -m diffusevae.stages report smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --figures artifacts/smoke/figures --evaluate artifacts/smoke/evaluate \\
    --train_vae artifacts/smoke/train_vae --train_ddpm artifacts/smoke/train_ddpm \\
    --train_diffusevae artifacts/smoke/train_diffusevae \\
    --tune_vae artifacts/smoke/tune_vae --tune_ddpm artifacts/smoke/tune_ddpm \\
    --out artifacts/smoke/report
"""

import json
from pathlib import Path

import pandas as pd

from diffusevae.checkpoint import load_config, load_tensors, sha256_of
from diffusevae.data import DatasetConfig
from diffusevae.params import read_yaml
from diffusevae.report import Picture, ReportInputs, TrainedModel, build_report
from diffusevae.study import Scale

ROOT = "experiments"
SECTIONS = {"dataset": str, "seed": int} | dict.fromkeys(
    ("vae", "vae_optimiser", "tune_vae", "train_vae", "prior", "diffusion", "unet",
     "diffusion_optimiser", "tune_ddpm", "train_ddpm", "train_diffusevae", "sampler", "sample",
     "evaluate", "figures"), dict,
)  # fmt: skip


def run(
    params, *, train: Path, figures: Path, evaluate: Path, train_vae: Path, train_ddpm: Path,
    train_diffusevae: Path, tune_vae: Path, tune_ddpm: Path, out: Path, log,
) -> None:  # fmt: skip
    """Write report.html to `out`."""
    images = DatasetConfig(**load_config(train))
    metrics = json.loads((evaluate / "metrics.json").read_text(encoding="utf-8"))
    captions = json.loads((figures / "captions.json").read_text(encoding="utf-8"))
    searches = {"tune_vae": tune_vae, "tune_ddpm": tune_ddpm}
    inputs = ReportInputs(
        experiment=params.key,
        source=images.source,
        scale=Scale(images.num_train, params.train_vae["epochs"],
                    params.train_diffusevae["epochs"], metrics["num_images"]),
        params={name: getattr(params, name) for name in SECTIONS},
        metrics=metrics,
        pictures=[Picture(png=(figures / caption.pop("file")).read_bytes(), **caption)
                  for caption in captions],
        models={"vae": load_model(train_vae), "ddpm": load_model(train_ddpm),
                "diffusevae": load_model(train_diffusevae)},
        latent_shape=load_config(train_vae / "prior.safetensors")["latent_shape"],
        best={stage: read_yaml(folder / "best.yaml") for stage, folder in searches.items()},
        num_trials={stage: len(pd.read_csv(folder / "trials.csv"))
                    for stage, folder in searches.items()},
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.html").write_text(build_report(inputs), encoding="utf-8")
    log.artifact(out / "report.html")


def load_model(folder: Path) -> TrainedModel:
    """Return what the report says of the model in a training stage's folder."""
    path = folder / "model.safetensors"
    num_parameters = sum(tensor.numel() for tensor in load_tensors(path).values())
    return TrainedModel(sha256_of(path), num_parameters, load_config(path),
                        pd.read_csv(folder / "history.csv"))  # fmt: skip
