"""Train the unconditional DDPM, the third model of the study, with the best configuration found.

python -m diffusevae.stages train_ddpm smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --best artifacts/smoke/tune_ddpm/best.yaml --out artifacts/smoke/train_ddpm
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split
from diffusevae.models.diffusion import save_diffusion
from diffusevae.training import diffusion_training
from diffusevae.training.diffusion_training import (
    TrainDiffusionConfig,
    make_images,
    train_diffusion,
)
from diffusevae.training.distributed import join_group
from diffusevae.training.stage_trainings import open_training
from diffusevae.tuning.search_space import apply_best

ROOT = "experiments"
SECTIONS = diffusion_training.SECTIONS | {"train_ddpm": TrainDiffusionConfig}
TUNED = apply_best


def run(params, *, train: Path, validation: Path, out: Path, log: StageLog) -> None:
    """Write model.safetensors, history.csv and snapshots/ to `out`."""
    device = choose_device()
    group = join_group(device)
    log.dataset(train, "training")
    training = open_training("train_ddpm", params, [train, validation], device, log)
    known, unseen = map(load_split, (train, validation))
    images = make_images(known, params.unet, device, None, known.flips)
    held_out = make_images(unseen, params.unet, device)
    model, history = train_diffusion(
        params, params.train_ddpm, images, held_out, training, group, save_diffusion
    )
    if group.is_first:
        save_diffusion(out / "model.safetensors", model)
        training.finish(out, history)
