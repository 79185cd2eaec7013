"""Search hyper-parameters of the diffusion model on the unconditional DDPM.

python -m diffusevae.stages tune_ddpm smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors --out artifacts/smoke/tune_ddpm
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import add_mirrored, load_split
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.unet import UNetConfig
from diffusevae.training.diffusion_training import Images
from diffusevae.training.loop import OptimiserConfig
from diffusevae.tuning.diffusion_trials import make_diffusion_objective
from diffusevae.tuning.search import SearchConfig, name_study, save_result, search

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "diffusion": DiffusionConfig,
    "unet": UNetConfig,
    "diffusion_optimiser": OptimiserConfig,
    "tune_ddpm": SearchConfig,
}


def run(params, *, train: Path, validation: Path, out: Path, log: StageLog) -> None:
    """Write best.yaml, trials.csv and importances.csv to `out`."""
    device = choose_device()
    log.dataset(train, "tuning")
    config = params.tune_ddpm
    split = load_split(train)
    some = split.images[: config.num_images].to(device)
    known = Images(add_mirrored(some) if split.flips else some, flips=split.flips)
    held_out = Images(load_split(validation).images.to(device))
    objective = make_diffusion_objective(params, split.images, known, held_out, log)
    name = name_study("tune_ddpm", params, [train, validation])
    save_result(search(config, name, params.seed, vars(params), objective, log.message), out)
    log.artifact(out)
