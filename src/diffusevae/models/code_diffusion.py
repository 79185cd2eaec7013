"""A diffusion model over codes (Rombach et al. 2022, section 3): the same, but for its network.

A code has few places and many numbers to each, so its network is an MLP over all of them at once.
"""

import math
from collections.abc import Sequence

from torch import Generator, Tensor, nn

from diffusevae.models.diffusion import DiffusionConfig, DiffusionModel, draw_noise
from diffusevae.models.layers import time_embedding, zero_init
from diffusevae.models.unet import UNetConfig

REACH = 4.0  # standard deviations that a number of a code may be from its mean
NUM_BLOCKS = 3
REPLACED = UNetConfig(8, (1,), 1, (), 1, 2, 0.0, ("in",))  # the UNet, by the MLP


class CodeDenoiser(nn.Module):
    """Maps x_t (B x Cz x h x w) at times t (B, or 1 for all) to a prediction of that shape.

    Residual blocks of LayerNorm, linear, SiLU, linear, told the time, beside a linear map.
    """

    conditional, num_classes = False, 0

    def __init__(self, code_shape: Sequence[int], width: int) -> None:
        super().__init__()
        self.image_shape, self.width = tuple(code_shape), width
        numbers = math.prod(code_shape)
        self.into, self.straight = nn.Linear(numbers, width), nn.Linear(numbers, numbers)
        self.times = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                nn.SiLU(),
                zero_init(nn.Linear(width, width)),
            )
            for _ in range(NUM_BLOCKS)
        )
        self.out = nn.Sequential(nn.LayerNorm(width), zero_init(nn.Linear(width, numbers)))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        flat = x_t.flatten(1)  # B x D
        told = self.times(time_embedding(t, self.width))
        h = self.into(flat)
        for block in self.blocks:
            h = h + block(h + told)
        return (self.straight(flat) + self.out(h + told)).reshape(x_t.shape)


class CodeDiffusion(DiffusionModel):
    """p(x_{t-1} | x_t) over codes; [0, 1] stands for REACH standard deviations about the mean.

    mean and deviation: Cz x h x w, of the codes that it is trained on.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: DiffusionConfig, width: int, codes: Tensor) -> None:
        super().__init__(config, REPLACED, codes.shape[1:], conditional=False)
        self.unet = CodeDenoiser(codes.shape[1:], width)  # type: ignore[assignment]
        self.register_buffer("mean", codes.mean(0))
        self.register_buffer("deviation", codes.std(0).clamp(min=1e-6))

    @property
    def x_0_bounds(self) -> tuple[float, float]:
        """The range of a code in the space of diffusion, where its numbers have deviation 1."""
        return -REACH, REACH

    def to_unit(self, codes: Tensor) -> Tensor:
        """Return codes B x Cz x h x w in [0, 1]; what lies outside comes to its edge."""
        return self.to_unit_range((codes - self.mean) / self.deviation)

    def to_codes(self, x: Tensor) -> Tensor:
        """Return the codes that x in [0, 1] stands for."""
        return self.mean + self.deviation * self.to_diffusion_range(x)

    def draw(self, codes: Tensor, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `losses` takes of some codes: x, t and eps."""
        return self.to_unit(codes), *draw_noise(codes.shape, self.config.num_timesteps, rng)
