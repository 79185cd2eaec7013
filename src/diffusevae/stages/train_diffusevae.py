"""Train DiffuseVAE: a diffusion model conditioned on the frozen VAE's reconstruction.

python -m diffusevae.stages train_diffusevae smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --best artifacts/smoke/tune_ddpm/best.yaml --vae artifacts/smoke/train_vae/model.safetensors \\
    --out artifacts/smoke/train_diffusevae
"""

from pathlib import Path

import pandas as pd

from diffusevae.core.device import choose_device
from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import load_split
from diffusevae.models.diffusion import DiffusionConfig, DiffusionModel, save_diffusion
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae import load_vae, reconstruct_all
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.diffusion_training import Images, TrainDiffusionConfig, fit_diffusion
from diffusevae.training.distributed import join_group
from diffusevae.training.loop import Callbacks, OptimiserConfig
from diffusevae.tuning.search_space import apply_best

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "diffusion": DiffusionConfig,
    "unet": UNetConfig,
    "diffusion_optimiser": OptimiserConfig,
    "train_diffusevae": TrainDiffusionConfig,
}
TUNED = apply_best


def run(params, *, train: Path, validation: Path, vae: Path, out: Path, log) -> None:
    """Write model.safetensors, history.csv and snapshots/ to `out`."""
    device = choose_device()
    group = join_group(device)
    log.dataset(train, "training")
    config = params.train_diffusevae
    frozen = load_vae(vae, device)
    log.message("reconstructing every image with the frozen VAE")
    images, held_out = (
        Images(x, reconstruct_all(frozen, x))
        for x in (load_split(path).images.to(device) for path in (train, validation))
    )
    checkpointer = Checkpointer.of(
        "train_diffusevae", params, [train, validation, vae], log.message
    )
    vae_sha256 = sha256_of(vae)

    def on_epoch(epoch: int, row: dict, model: DiffusionModel) -> None:
        log.epoch(row)
        if epoch in config.snapshot_epochs:
            path = checkpointer.kept / f"snapshots/epoch_{epoch:04d}.safetensors"
            save_diffusion(path, model, vae_sha256)

    if warning := params.diffusion.schedule.warning:
        log.message(warning)
    model, history = fit_diffusion(
        params.diffusion,
        params.unet,
        params.diffusion_optimiser,
        images,
        held_out,
        config.epochs,
        config.p_uncond,
        params.seed,
        Callbacks(on_epoch, log.batch, log.resume),
        checkpointer,
        group,
    )
    if sha256_of(vae) != vae_sha256:
        raise InputError(f"{vae}: changed while DiffuseVAE was trained on it; run this stage again")
    if not group.is_first:
        return
    checkpointer.copy_kept(out)
    save_diffusion(out / "model.safetensors", model, vae_sha256)
    pd.DataFrame(history).to_csv(out / "history.csv", index=False)
    checkpointer.clear()
    log.artifact(out)
    log.tag("model_sha256", sha256_of(out / "model.safetensors"))
