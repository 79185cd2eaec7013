"""Train DiffuseVAE: a diffusion model conditioned on the frozen VAE's reconstruction.

python -m diffusevae.stages train_diffusevae smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --best artifacts/smoke/tune_ddpm/best.yaml --vae artifacts/smoke/train_vae/model.safetensors \\
    --out artifacts/smoke/train_diffusevae
"""

from pathlib import Path

import pandas as pd

from diffusevae.checkpoint import save_tensors, sha256_of
from diffusevae.data import load_split, to_unit
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
from diffusevae.vae import load_vae
from diffusevae.vae_training import reconstruct_all

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "diffusion": DiffusionConfig,
    "unet": UNetConfig,
    "diffusion_optimiser": OptimiserConfig,
    "train_diffusevae": TrainDiffusionConfig,
    "sampler": SamplerConfig,
}


def run(params, *, train: Path, validation: Path, best: Path, vae: Path, out: Path, log) -> None:
    """Write model.safetensors, history.csv and snapshots/ to `out`."""
    device = choose_device()
    log.dataset(train, "training")
    params = apply_best(params, best)
    config = params.train_diffusevae
    frozen = load_vae(vae, device)
    log.message("reconstructing every image with the frozen VAE")
    images, held_out = (
        Images(x, reconstruct_all(frozen, x))
        for x in (load_split(path).images.to(device) for path in (train, validation))
    )
    shown = slice(0, SNAPSHOT_IMAGES)

    def on_epoch(epoch: int, row: dict, model) -> None:
        log.epoch(row)
        if epoch in config.snapshot_epochs:
            x_hat = held_out.x_hat[shown]
            samples = sample(model, params.sampler, len(x_hat), params.seed, x_hat)
            save_tensors(out / f"snapshots/epoch_{epoch:04d}.safetensors",
                         {"samples": samples, "x_hat": x_hat, "real": to_unit(held_out.x[shown])})

    model, history = fit_diffusion(
        params.diffusion, params.unet, params.diffusion_optimiser, images, held_out,
        config.epochs, config.p_uncond, params.seed, on_epoch, log.batch,
    )  # fmt: skip
    save_diffusion(out / "model.safetensors", model, vae_sha256=sha256_of(vae))
    pd.DataFrame(history).to_csv(out / "history.csv", index=False)
    log.artifact(out)
    log.tag("model_sha256", sha256_of(out / "model.safetensors"))
