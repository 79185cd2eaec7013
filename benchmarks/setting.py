"""What a run of the benchmarks measures on: device, experiment, and how often."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import torch

from diffusevae.core.device import choose_device, precision
from diffusevae.core.params import load_sections
from diffusevae.metrics.evaluation import EvaluateConfig
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae import VAEConfig
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.training.loop import OptimiserConfig

IMAGE_SHAPE = (1, 32, 32)
QUIET = 0.5  # load average below which a machine counts as having nothing else to do
SECTIONS = {
    "seed": int,
    "vae": VAEConfig,
    "vae_optimiser": OptimiserConfig,
    "diffusion": DiffusionConfig,
    "unet": UNetConfig,
    "diffusion_optimiser": OptimiserConfig,
    "sampler": SamplerConfig,
    "evaluate": EvaluateConfig,
}
PACKAGES = (
    "torch",
    "numpy",
    "diffusers",
    "denoising-diffusion-pytorch",
    "pythae",
    "torchmetrics",
    "pytorch-fid",
)


@dataclass(frozen=True, eq=False)
class Setting:
    """The experiment whose networks, batches and samplers are measured, and on which device.

    batches is how many batches one repeat of a training has, beyond those that warm it up;
    num_images how many images a sampler makes in one repeat.
    """

    experiment: str
    params: SimpleNamespace
    device: torch.device
    repeats: int
    batches: int
    num_images: int


def choose_setting(experiment: str, repeats: int) -> Setting:
    """Return the setting for the machine at hand; a GPU gets more work, for it is done sooner."""
    device = choose_device()
    params = load_sections(Path("params.yaml"), "experiments", experiment, SECTIONS)
    batches, num_images = (50, 2000) if device.type == "cuda" else (8, 250)
    return Setting(experiment, params, device, repeats, batches, num_images)


def describe(setting: Setting) -> str:
    """Return the lines that say where and with what the numbers were taken."""
    name = _processor()
    if setting.device.type == "cuda":
        name = f"{torch.cuda.get_device_name(setting.device)}, {name}"
    versions = ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
    load = os.getloadavg()[0]
    quiet = "" if load < QUIET else ", not a quiet machine"
    return (
        f"device: {setting.device} ({name}), {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads\n"
        f"load average at the start: {load:.1f}{quiet}\n"
        f"versions: Python {platform.python_version()}, {versions}\n"
        f"experiment: {setting.experiment}, {precision(setting.device)}, {setting.repeats} turns"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
