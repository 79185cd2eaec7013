"""What the networks cost that a search can draw."""

import optuna
import torch
from torch.utils.flop_counter import FlopCounterMode

from diffusevae.core.params import load_sections, override
from diffusevae.experiments.experiment import Experiment
from diffusevae.experiments.params_file import PARAMS_FILE
from diffusevae.models.diffusion import DiffusionConfig
from diffusevae.models.unet import UNet, UNetConfig
from diffusevae.models.vae import VAE, VAEConfig
from diffusevae.training.loop import OptimiserConfig
from diffusevae.tuning.search import SearchConfig
from diffusevae.tuning.search_space import suggest_values

DRAWS = 16  # networks from a search space


def cost_of_drawn_networks(experiment: Experiment, target: str, shape: tuple[int, ...]) -> float:
    """Return how many times the base network's FLOPs those of a search's networks are, mean."""
    stage = target.split("@")[0]
    schemas = {
        "vae": VAEConfig,
        "unet": UNetConfig,
        "diffusion": DiffusionConfig,
        "vae_optimiser": OptimiserConfig,
        "diffusion_optimiser": OptimiserConfig,
    }
    params = load_sections(
        PARAMS_FILE, "experiments", experiment.name, schemas | {stage: SearchConfig}
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [
        suggest_values(study.ask(), getattr(params, stage).space, vars(params))
        for _ in range(DRAWS)
    ]
    kind = "vae" if stage == "tune_vae" else "unet"
    base = getattr(params, kind)
    flops = [
        _count_flops(override(base, values.get(kind, {}), kind), shape) for values in [{}, *drawn]
    ]
    return sum(flops[1:]) / DRAWS / flops[0]


def _count_flops(config: VAEConfig | UNetConfig, shape: tuple[int, ...]) -> int:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        x = torch.zeros(1, *shape)
        if isinstance(config, VAEConfig):
            VAE(config, shape).reconstruct(x)
        else:
            UNet(config, shape, conditional=False)(x, torch.zeros(1, dtype=torch.long))
    return counter.get_total_flops()
