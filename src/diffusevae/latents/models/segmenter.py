"""The diffusion model's UNet as a network that segments images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffusevae.models.unet import UNet, UNetConfig


class Segmenter(nn.Module):
    """Maps images (B x C x H x W in [0, 1]) to logits of the mask, with a UNet at t = 0."""

    def __init__(self, config: UNetConfig, shape: Sequence[int]) -> None:
        super().__init__()
        self.unet = UNet(config, shape, conditional=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.unet(2 * x - 1, torch.zeros(len(x), dtype=torch.long, device=x.device))
