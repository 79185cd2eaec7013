"""Restore damaged test images by the trained models. Not part of the flow: run it when wanted.

python -m diffusevae.stages restore smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --test data/prepared/mnist_tiny/test.safetensors --train_vae artifacts/smoke/train_vae \\
    --train_ddpm artifacts/smoke/train_ddpm --train_diffusevae artifacts/smoke/train_diffusevae \\
    --out artifacts/smoke/restore
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.data.dataset import load_split, to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.sampling.generation import load_models
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.restoration.restoration_config import RestoreConfig, choose_images
from diffusevae.studies.restoration.restoration_figures import draw_cases, draw_errors
from diffusevae.studies.restoration.restoration_study import measure_restoration

ROOT = "experiments"
SECTIONS = {"seed": int, "sampler": SamplerConfig, "restore": RestoreConfig}


def run(
    params,
    *,
    train: Path,
    validation: Path,
    test: Path,
    train_vae: Path,
    train_ddpm: Path,
    train_diffusevae: Path,
    out: Path,
    log,
) -> None:
    """Write table.csv, table.png and images.png to `out`."""
    log.dataset(test, "testing")
    models = load_models(train_vae, train_ddpm, train_diffusevae, choose_device())
    splits = (to_unit(load_split(part).images) for part in (train, validation, test))
    images = choose_images(params.restore, *splits)
    table, cases = measure_restoration(
        models, params.sampler, params.restore, images, params.seed, log.message
    )
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "table.csv", index=False)
    with figure_style():
        save_figure(draw_errors(table), out / "table.png")
        save_figure(draw_cases(cases, table, images.test), out / "images.png")
    log.artifact(out)
