"""Train DiffuseVAE: a diffusion model conditioned on the frozen VAE's reconstruction.

python -m diffusevae.stages train_diffusevae smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --best artifacts/smoke/tune_ddpm/best.yaml --vae artifacts/smoke/train_vae/model.safetensors \\
    --out artifacts/smoke/train_diffusevae
"""

from functools import partial
from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.errors import InputError
from diffusevae.core.stage_log import StageLog
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import load_split
from diffusevae.models.diffusion import save_diffusion
from diffusevae.models.vae import load_vae
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
SECTIONS = diffusion_training.SECTIONS | {"train_diffusevae": TrainDiffusionConfig}
TUNED = apply_best


def run(params, *, train: Path, validation: Path, vae: Path, out: Path, log: StageLog) -> None:
    """Write model.safetensors, history.csv and snapshots/ to `out`."""
    device = choose_device()
    group = join_group(device)
    log.dataset(train, "training")
    frozen, vae_sha256 = load_vae(vae, device), sha256_of(vae)
    log.message("reconstructing every image with the frozen VAE")
    known, unseen = map(load_split, (train, validation))
    images = make_images(known, params.unet, device, frozen, known.flips)
    held_out = make_images(unseen, params.unet, device, frozen)
    training = open_training("train_diffusevae", params, [train, validation, vae], device, log)
    save = partial(save_diffusion, vae_sha256=vae_sha256)
    config = params.train_diffusevae
    model, history = train_diffusion(params, config, images, held_out, training, group, save)
    if sha256_of(vae) != vae_sha256:
        raise InputError(f"{vae}: changed while DiffuseVAE was trained on it; run this stage again")
    if group.is_first:
        save(out / "model.safetensors", model)
        training.finish(out, history)
