"""Train the unconditional DDPM, the third model of the study, with the best configuration found.

python -m diffusevae.stages train_ddpm smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --best artifacts/smoke/tune_ddpm/best.yaml --out artifacts/smoke/train_ddpm
"""

from pathlib import Path

import pandas as pd

from diffusevae.core.device import choose_device
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import load_split
from diffusevae.models.diffusion import DiffusionConfig, DiffusionModel, save_diffusion
from diffusevae.models.unet import UNetConfig
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
    "train_ddpm": TrainDiffusionConfig,
}
TUNED = apply_best


def run(params, *, train: Path, validation: Path, out: Path, log) -> None:
    """Write model.safetensors, history.csv and snapshots/ to `out`."""
    device = choose_device()
    group = join_group(device)
    log.dataset(train, "training")
    config = params.train_ddpm

    checkpointer = Checkpointer.of("train_ddpm", params, [train, validation], log.message)

    def on_epoch(epoch: int, row: dict, model: DiffusionModel) -> None:
        log.epoch(row)
        if epoch in config.snapshot_epochs:
            save_diffusion(checkpointer.kept / f"snapshots/epoch_{epoch:04d}.safetensors", model)

    if warning := params.diffusion.schedule.warning:
        log.message(warning)
    images, held_out = (Images(load_split(path).images.to(device)) for path in (train, validation))
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
    if not group.is_first:
        return
    checkpointer.copy_kept(out)
    save_diffusion(out / "model.safetensors", model)
    pd.DataFrame(history).to_csv(out / "history.csv", index=False)
    checkpointer.clear()
    log.artifact(out)
    log.tag("model_sha256", sha256_of(out / "model.safetensors"))
