"""Refine test images and generate new ones with every model: the expensive part of evaluation.

python -m diffusevae.stages sample smoke --test data/prepared/mnist_tiny/test.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --train_vae artifacts/smoke/train_vae --train_ddpm artifacts/smoke/train_ddpm \\
    --train_diffusevae artifacts/smoke/train_diffusevae --out artifacts/smoke/sample
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.core.tensor_file import save_tensors
from diffusevae.data.dataset import load_split, to_unit
from diffusevae.models.diffusion import load_diffusion
from diffusevae.models.vae import reconstruct_all
from diffusevae.sampling.generation import (
    SampleConfig,
    draw_snapshot,
    generate_all_ways,
    load_models,
    record_trajectory,
    refine_test_images,
)
from diffusevae.sampling.sampler_config import SamplerConfig

VALIDATION_IMAGES = (
    500  # reconstructed: what two grey values are chosen by (`metrics.grey_stretch`)
)

ROOT = "experiments"
SECTIONS = {"seed": int, "sampler": SamplerConfig, "sample": SampleConfig}


def run(
    params,
    *,
    test: Path,
    validation: Path,
    train_vae: Path,
    train_ddpm: Path,
    train_diffusevae: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write pairs, validation, generated and trajectory (.safetensors), and snapshots/."""
    device = choose_device()
    log.dataset(test, "testing")
    models = load_models(train_vae, train_ddpm, train_diffusevae, device)
    split = load_split(test)
    counts, seed = params.sample, params.seed
    pairs = refine_test_images(models, params.sampler, split, counts.num_images, seed, log)
    save_tensors(out / "pairs.safetensors", pairs)
    held_out = load_split(validation).images[:VALIDATION_IMAGES]
    reconstructed = {"real": to_unit(held_out), "vae": reconstruct_all(models.vae, held_out).cpu()}
    save_tensors(out / "validation.safetensors", reconstructed)
    generated = generate_all_ways(models, params.sampler, counts.num_generated, seed, log)
    save_tensors(out / "generated.safetensors", generated)
    trajectory = record_trajectory(models, params.sampler, split, seed)
    save_tensors(out / "trajectory.safetensors", trajectory)
    for name, folder in (("ddpm", train_ddpm), ("diffusevae", train_diffusevae)):
        for path in sorted((folder / "snapshots").glob("*.safetensors")):
            part: dict[str, Any] = {name: load_diffusion(path, device)}
            early = replace(models, **part)
            drawn = draw_snapshot(early, name, params.sampler, split, seed)
            save_tensors(out / "snapshots" / name / path.name, drawn)
