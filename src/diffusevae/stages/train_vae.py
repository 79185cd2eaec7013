"""Train the VAE with the best configuration found, and fit the ex-post density to its codes.

python -m diffusevae.stages train_vae smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --best artifacts/smoke/tune_vae/best.yaml --out artifacts/smoke/train_vae
"""

from pathlib import Path

import pandas as pd

from diffusevae.core.device import choose_device
from diffusevae.core.tensor_file import save_tensors, sha256_of
from diffusevae.data.dataset import load_split
from diffusevae.models.latent_mixture import MixtureConfig, fit_mixture, save_mixture
from diffusevae.models.vae import VAEConfig, encode_all, save_vae
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.distributed import join_group
from diffusevae.training.loop import Callbacks, OptimiserConfig
from diffusevae.training.vae_training import TrainVAEConfig, fit_vae, take_snapshot
from diffusevae.tuning.search_space import apply_best

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "vae": VAEConfig,
    "vae_optimiser": OptimiserConfig,
    "train_vae": TrainVAEConfig,
    "prior": MixtureConfig,
}
TUNED = apply_best


def run(params, *, train: Path, validation: Path, out: Path, log) -> None:
    """Write model.safetensors, prior.safetensors, history.csv and snapshots/ to `out`."""
    device = choose_device()
    group = join_group(device)
    log.dataset(train, "training")
    checkpointer = Checkpointer.of("train_vae", params, [train, validation], log.message)
    images = load_split(train).images.to(device)
    held_out = load_split(validation)

    def on_epoch(epoch: int, row: dict, vae) -> None:
        log.epoch(row)
        if epoch in params.train_vae.snapshot_epochs:
            snapshot = take_snapshot(
                vae, held_out, params.train_vae.num_snapshot_codes, params.seed
            )
            save_tensors(checkpointer.kept / f"snapshots/epoch_{epoch:04d}.safetensors", snapshot)

    vae, history = fit_vae(
        params.vae,
        params.vae_optimiser,
        images,
        held_out.images.to(device),
        params.train_vae.epochs,
        params.seed,
        Callbacks(on_epoch, log.batch, log.resume),
        checkpointer,
        group,
    )
    if not group.is_first:
        return
    checkpointer.copy_kept(out)
    save_vae(out / "model.safetensors", vae)
    pd.DataFrame(history).to_csv(out / "history.csv", index=False)
    log.message(f"fitting {params.prior.num_components} Gaussians to the codes")
    save_mixture(
        out / "prior.safetensors", fit_mixture(params.prior, encode_all(vae, images), params.seed)
    )
    checkpointer.clear()
    log.artifact(out)
    log.tag("model_sha256", sha256_of(out / "model.safetensors"))
