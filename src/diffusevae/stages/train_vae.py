"""Train the VAE with the best configuration found, and fit the ex-post density to its codes.

python -m diffusevae.stages train_vae smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --best artifacts/smoke/tune_vae/best.yaml --out artifacts/smoke/train_vae
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split
from diffusevae.models.latent_mixture import MixtureConfig, save_mixture
from diffusevae.models.mixture_fitting import fit_mixture
from diffusevae.models.vae import VAEConfig, encode_all, save_vae
from diffusevae.training.distributed import join_group
from diffusevae.training.loop import OptimiserConfig
from diffusevae.training.stage_trainings import open_training
from diffusevae.training.vae_training import TrainVAEConfig, log_use_of_code, train_vae
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


def run(params, *, train: Path, validation: Path, out: Path, log: StageLog) -> None:
    """Write model.safetensors, prior.safetensors, history.csv and snapshots/ to `out`."""
    device = choose_device()
    group = join_group(device)
    log.dataset(train, "training")
    training = open_training("train_vae", params, [train, validation], device, log)
    split, held_out = load_split(train), load_split(validation)
    images = split.images.to(device)
    vae, history = train_vae(params, images, held_out, training, group, split.flips)
    if not group.is_first:
        return
    save_vae(out / "model.safetensors", vae)
    log_use_of_code(vae, held_out.images.to(device), training)
    log.message(f"fitting {params.prior.num_components} Gaussians to the codes")
    codes = encode_all(vae, images).to(device)
    mixture = fit_mixture(params.prior, codes, params.seed, split.labels)
    save_mixture(out / "prior.safetensors", mixture)
    training.finish(out, history)
