"""Train the unconditional DDPM, the third model of the study, with the best configuration found.

python -m diffusevae.stages train_ddpm smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --best artifacts/smoke/tune_ddpm/best.yaml --out artifacts/smoke/train_ddpm
"""

from pathlib import Path

import pandas as pd

from diffusevae.checkpoint import save_tensors, sha256_of
from diffusevae.data import load_split
from diffusevae.device import choose_device
from diffusevae.diffusion import DiffusionConfig, save_diffusion
from diffusevae.diffusion_training import (
    SNAPSHOT_IMAGES,
    Images,
    TrainDiffusionConfig,
    fit_diffusion,
)
from diffusevae.sampling import SamplerConfig, sample
from diffusevae.search import apply_best
from diffusevae.training import OptimiserConfig
from diffusevae.unet import UNetConfig

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "diffusion": DiffusionConfig,
    "unet": UNetConfig,
    "diffusion_optimiser": OptimiserConfig,
    "train_ddpm": TrainDiffusionConfig,
    "sampler": SamplerConfig,
}


def run(params, *, train: Path, validation: Path, best: Path, out: Path, log) -> None:
    """Write model.safetensors, history.csv and snapshots/ to `out`."""
    device = choose_device()
    log.dataset(train, "training")
    params = apply_best(params, best)
    config = params.train_ddpm

    def on_epoch(epoch: int, row: dict, model) -> None:
        log.epoch(row)
        if epoch in config.snapshot_epochs:
            samples = sample(model, params.sampler, SNAPSHOT_IMAGES, params.seed)
            save_tensors(out / f"snapshots/epoch_{epoch:04d}.safetensors", {"samples": samples})

    model, history = fit_diffusion(
        params.diffusion, params.unet, params.diffusion_optimiser,
        *(Images(load_split(path).images.to(device)) for path in (train, validation)),
        config.epochs, config.p_uncond, params.seed, on_epoch, log.batch,
    )  # fmt: skip
    save_diffusion(out / "model.safetensors", model)
    pd.DataFrame(history).to_csv(out / "history.csv", index=False)
    log.artifact(out)
    log.tag("model_sha256", sha256_of(out / "model.safetensors"))
