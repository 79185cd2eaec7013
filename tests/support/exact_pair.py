"""Two correlated pixels whose best denoiser is known: every answer can be had by hand."""

import torch
from torch import nn

from diffusevae.models.diffusion import DiffusionModel
from tests.support.toy_models import make_diffusion

STD = 0.3  # of each of the two pixels of an image, in the range of diffusion
CORRELATION = 0.9
COUNT = 4000


class ExactPair(nn.Module):
    """The best denoiser for two correlated pixels, x_0 ~ N(0, S): E[x_0|x_t] = a S (..)^-1 x_t."""

    image_shape = (1, 1, 2)

    def __init__(self, alpha_bars: torch.Tensor, correlation: float) -> None:
        super().__init__()
        self.alpha_bars = alpha_bars.float()
        self.cov = STD**2 * torch.tensor([[1, correlation], [correlation, 1]])

    def forward(self, x_t, t):
        a = self.alpha_bars[t].sqrt()[0]
        gain = a * self.cov @ torch.linalg.inv(a**2 * self.cov + (1 - a**2) * torch.eye(2))
        return (x_t.flatten(1) @ gain.T).reshape(x_t.shape)


def pair_model(correlation: float = CORRELATION) -> DiffusionModel:
    model = make_diffusion("x0", num_timesteps=400)
    model.unet = ExactPair(model.schedule.alpha_bars, correlation)
    return model


def observe(value: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images whose first pixel was seen to be `value` (in the range of diffusion)."""
    observed = torch.full((COUNT, 1, 1, 2), (value + 1) / 2)
    known = torch.zeros_like(observed)
    known[..., 0] = 1
    return observed, known
