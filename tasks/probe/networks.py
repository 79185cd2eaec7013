"""What the networks cost: those that a search can draw, and the memory of a training's step."""

import math

import optuna
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from diffusevae.core.params import load_sections, override
from diffusevae.experiments.experiment import Experiment
from diffusevae.experiments.params_file import PARAMS_FILE
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.unet import UNet, UNetConfig
from diffusevae.models.vae import VAE, VAEConfig
from diffusevae.training.loop import OptimiserConfig
from diffusevae.tuning.search import SearchConfig
from diffusevae.tuning.search_space import suggest_values

DRAWS = 16  # networks from a search space
CODE_BYTES = 36  # of a number of it: in float32, and four times in float64 by scikit-learn
COPIES = 6  # weights, gradients, Adam's two averages, the averaged weights, the best ones
OPTIMISED = {"vae": "vae_optimiser", "unet": "diffusion_optimiser"}
SCHEMAS = {
    "vae": VAEConfig,
    "unet": UNetConfig,
    "diffusion": DiffusionConfig,
    "vae_optimiser": OptimiserConfig,
    "diffusion_optimiser": OptimiserConfig,
}


def memory_of_steps(experiment: Experiment, shape: tuple[int, ...]) -> dict[str, float]:
    """Return the bytes that a step of training holds in float32, of "vae" and "unet".

    Computed: all that the backward pass needs of a batch of C x H x W images, and what is held of
    the weights. The peak on a CPU was within a tenth of it (docs/performance.md).
    """
    params = load_sections(PARAMS_FILE, "experiments", experiment.name, SCHEMAS)
    found = {}
    for kind, section in OPTIMISED.items():
        kept, own = _count_kept(getattr(params, kind), shape)
        optimiser = getattr(params, section)
        at_once = math.ceil(optimiser.batch_size / optimiser.accumulate)
        found[kind] = kept * at_once + COPIES * own
    return found


def memory_of_code(experiment: Experiment, shape: tuple[int, ...]) -> int:
    """Return the bytes that the code of a C x H x W image takes while a mixture is fitted."""
    params = load_sections(PARAMS_FILE, "experiments", experiment.name, {"vae": VAEConfig})
    with torch.device("meta"):
        return CODE_BYTES * math.prod(VAE(params.vae, shape).latent_shape)


def cost_of_drawn_networks(experiment: Experiment, target: str, shape: tuple[int, ...]) -> float:
    """Return how many times the base network's FLOPs those of a search's networks are, mean."""
    stage = target.split("@")[0]
    params = load_sections(
        PARAMS_FILE, "experiments", experiment.name, SCHEMAS | {stage: SearchConfig}
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
    with FlopCounterMode(display=False) as counter:
        _make_and_run(config, shape)
    return counter.get_total_flops()


def _count_kept(config: VAEConfig | UNetConfig, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the bytes kept for the backward pass of one image, and those of the weights."""
    kept: dict[int, Tensor] = {}  # by their storage; held, so that none has another's place

    def keep(tensor: Tensor) -> Tensor:
        return kept.setdefault(tensor.untyped_storage()._cdata, tensor)

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network, _ = _make_and_run(config, shape)
    own = {each.untyped_storage()._cdata: each for each in network.parameters()}
    sizes = {place: tensor.untyped_storage().nbytes() for place, tensor in (kept | own).items()}
    weights = sum(sizes[place] for place in own)
    return sum(sizes.values()) - weights, weights


def _make_and_run(
    config: VAEConfig | UNetConfig, shape: tuple[int, ...]
) -> tuple[nn.Module, Tensor]:
    """Return a network and what it makes of one image, without computing anything."""
    with torch.device("meta"):
        x = torch.zeros(1, *shape)
        if isinstance(config, VAEConfig):
            vae = VAE(config, shape)
            return vae, vae.reconstruct(x)
        unet = UNet(config, shape, conditional=False)
        return unet, unet(x, torch.zeros(1, dtype=torch.long))
