"""Sweep the weight of guidance. Not part of the flow: run it when wanted.

It needs models that were told classes, and now and then nothing: experiment guided.

python -m diffusevae.stages guide guided_smoke \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --train_vae artifacts/guided_smoke/train_vae --train_ddpm artifacts/guided_smoke/train_ddpm \\
    --train_diffusevae artifacts/guided_smoke/train_diffusevae \\
    --classifier data/train_classifier/mnist_tiny/model.safetensors \\
    --out artifacts/guided_smoke/guide
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.models.classifier import load_classifier
from diffusevae.sampling.generation import load_models
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.guidance.guidance_figures import draw_classes, draw_sweep
from diffusevae.studies.guidance.guidance_study import (
    GuideConfig,
    choose_weight,
    require_guidable,
    sweep,
)

ROOT = "experiments"
SECTIONS = {"seed": int, "sampler": SamplerConfig, "guide": GuideConfig}


def run(
    params,
    *,
    validation: Path,
    train_vae: Path,
    train_ddpm: Path,
    train_diffusevae: Path,
    classifier: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write table.csv, table.png and images.png. Raises InputError for models that know none."""
    device, config = choose_device(), params.guide
    log.dataset(validation, "validation")
    models = load_models(train_vae, train_ddpm, train_diffusevae, device)
    require_guidable(models)
    network = load_classifier(classifier, device)
    reference = load_split(validation).images[: config.num_images]
    table, shown = sweep(
        models, network, params.sampler, config, reference, params.seed, log.message
    )
    best = choose_weight(table, params.sampler.guided_by)
    log.message(f"smallest distance at w {best:g}; sampler.guidance is {params.sampler.guidance:g}")
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "table.csv", index=False)
    with figure_style():
        save_figure(draw_sweep(table), out / "table.png")
        save_figure(draw_classes(shown), out / "images.png")
    log.artifact(out)
