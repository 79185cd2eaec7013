"""The peers' samplers, set to the product's noise schedule and to what its network predicts."""

from types import SimpleNamespace
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.setting import IMAGE_SHAPE
from diffusevae.core.errors import InputError
from diffusevae.core.torchvision_import import ensure_torchvision
from diffusevae.models.diffusion_config import DiffusionConfig

SchedulerName = Literal[
    "DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"
]


def check_shared(config: DiffusionConfig) -> None:
    """Raise InputError where what is diffused is none of what the peers know."""
    if "flow" in (config.prediction, config.scheduler_type) or config.zero_terminal_snr:
        raise InputError(
            "diffusion: the peers' schedulers here know no flow and no zero_terminal_snr; use "
            "another prediction and schedule"
        )


def make_scheduler(config: DiffusionConfig, name: SchedulerName, **options: object):
    """Return one of diffusers' schedulers with these betas."""
    check_shared(config)
    ensure_torchvision()
    import diffusers

    linear = config.scheduler_type == "linear"
    return getattr(diffusers, name)(
        num_train_timesteps=config.num_timesteps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule="linear" if linear else "squaredcos_cap_v2",
        prediction_type={"eps": "epsilon", "v": "v_prediction", "x0": "sample"}[config.prediction],
        **options,
    )


def make_gaussian_diffusion(
    config: DiffusionConfig, unet: nn.Module, num_steps: int | None = None
) -> nn.Module:
    """Return denoising-diffusion-pytorch's GaussianDiffusion; with num_steps, DDIM samples."""
    check_shared(config)
    ensure_torchvision()
    from denoising_diffusion_pytorch import GaussianDiffusion

    return GaussianDiffusion(
        unet,
        image_size=IMAGE_SHAPE[-1],
        timesteps=config.num_timesteps,
        sampling_timesteps=num_steps,
        beta_schedule=config.scheduler_type,
        objective={"eps": "pred_noise", "v": "pred_v", "x0": "pred_x0"}[config.prediction],
    )


class DiffusersView(nn.Module):
    """A UNet of the product as diffusers' pipelines want one: its answer has a `sample`."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.config = SimpleNamespace(sample_size=IMAGE_SHAPE[-1], in_channels=IMAGE_SHAPE[0])
        self.dtype, self.device = torch.float32, next(unet.parameters()).device

    def forward(self, x: Tensor, t: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=self.unet(x, t.expand(len(x)).to(x.device)))


class LucidrainsView(nn.Module):
    """A UNet of the product as GaussianDiffusion wants one."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.channels, self.out_dim = unet, IMAGE_SHAPE[0], IMAGE_SHAPE[0]
        self.self_condition = False

    def forward(self, x: Tensor, t: Tensor, x_self_cond: Tensor | None = None) -> Tensor:
        return self.unet(x, t)
