"""Search hyper-parameters of the VAE; `n_trials: 0` passes the base through.

python -m diffusevae.stages tune_vae smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors --out artifacts/smoke/tune_vae
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split
from diffusevae.models.vae import VAEConfig
from diffusevae.training.loop import OptimiserConfig
from diffusevae.training.objectives import principal_variances
from diffusevae.tuning.search import SearchConfig, name_study, save_result, search
from diffusevae.tuning.vae_trials import make_vae_objective

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "vae": VAEConfig,
    "vae_optimiser": OptimiserConfig,
    "tune_vae": SearchConfig,
}


def run(params, *, train: Path, validation: Path, out: Path, log: StageLog) -> None:
    """Write best.yaml, trials.csv and importances.csv to `out`."""
    device = choose_device()
    log.dataset(train, "tuning")
    config = params.tune_vae
    split, held_out = load_split(train), load_split(validation).images.to(device)
    images = split.images
    variances = principal_variances(images)
    some = images[: config.num_images].to(device)
    objective = make_vae_objective(params, some, held_out, variances, log, split.flips)
    name = name_study("tune_vae", params, [train, validation])
    save_result(search(config, name, params.seed, vars(params), objective, log.message), out)
    log.artifact(out)
