"""The variational bound on -log p of images of 256 grey values, in bits per dimension.

The model is the ancestral chain (DDPM, eq. 5 and 13): a prior term L_T, the chain's L_(t-1) for
t = 2 .. T and a decoder term L_0, each a number of bits for one value of one pixel. So their sum
can be set beside published ones, as a Gaussian density cannot.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from diffusevae.core.randomness import generator
from diffusevae.data.dataset import to_unit
from diffusevae.models.diffusion import DiffusionModel

BATCH = 250  # images at once
VARIANCES = ("posterior", "beta")  # of a step back


@torch.inference_mode()
def measure_bound(
    model: DiffusionModel,
    images: Tensor,
    condition: Tensor | None,
    seed: int,
    num_times: int,
    labels: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return prior, chain and decoder bits per dimension of each image (N, float64, CPU).

    images: uint8 N x C x H x W on the model's device, condition and labels as `model.network` takes
    them. The chain's T - 1 terms are estimated, without bias, from about `num_times` of them; each
    has the better of DDPM's two variances for these images. Predicted x_0 are kept in their range,
    as samplers keep them.
    """
    x_0, told = model.to_diffusion_range(to_unit(images)), (condition, labels)
    alpha_bars = model.schedule.alpha_bars.tolist()
    chain = torch.zeros(len(x_0), dtype=torch.float64)
    for t, weight in draw_times(len(alpha_bars), num_times, seed):
        error = _mean((_predict(model, x_0, told, t, seed) - x_0).square())
        ways = [chain_nats(alpha_bars[t - 1], alpha_bars[t], error, v) for v in VARIANCES]
        chain += weight * min(ways, key=lambda nats: float(nats.mean()))
    predicted, (low, high) = _predict(model, x_0, told, 0, seed).cpu(), model.x_0_bounds
    spread = math.sqrt(1 - alpha_bars[0])
    nats = {
        "prior": _mean(prior_nats(x_0, alpha_bars[-1])),
        "chain": chain,
        "decoder": _mean(decoder_nats(x_0.cpu(), predicted, spread, low, high)),
    }
    return {name: values / math.log(2) for name, values in nats.items()}


def _predict(
    model: DiffusionModel, x_0: Tensor, told: Sequence[Tensor | None], t: int, seed: int
) -> Tensor:
    """Return what the model predicts of noisy x_0 at t, from noise that is that of t and seed."""
    eps = torch.randn(x_0.shape, generator=generator(seed, "bound", t)).to(x_0.device)
    found = []
    for start in range(0, len(x_0), BATCH):
        some = slice(start, start + BATCH)
        times = torch.full((len(x_0[some]),), t, device=x_0.device)
        x_t = model.add_noise(x_0[some], times, eps[some])
        condition, labels = (each if each is None else each[some] for each in told)
        output = model.network(x_t, times, condition, labels)
        found.append(model.split(x_t, times, output)[0].clamp(*model.x_0_bounds))
    return torch.cat(found)


def draw_times(num_timesteps: int, num_times: int, seed: int) -> list[tuple[int, int]]:
    """Return timesteps t = 1 .. T-1, one of each part of the chain, with its part's length.

    Parts grow geometrically, for the terms fall with t: at most num_times, T - 1 where so many are
    allowed.
    """
    whole = num_times >= num_timesteps - 1
    space = np.linspace if whole else np.geomspace
    edges = space(1, num_timesteps, min(num_times, num_timesteps - 1) + 1).round().astype(int)
    rng = generator(seed, "bound", "times")
    return [
        (int(torch.randint(low, high, (1,), generator=rng)), high - low)
        for low, high in pairwise(np.unique(edges).tolist())
    ]


def prior_nats(x_0: Tensor, alpha_bar: float) -> Tensor:
    """Return KL(q(x_T | x_0) || N(0, 1)) of each value: L_T."""
    return 0.5 * (alpha_bar * (x_0.double() ** 2 - 1) - math.log1p(-alpha_bar))


def chain_nats(before: float, now: float, error: Tensor, variance: str) -> Tensor:
    """Return KL(q(x_(t-1) | x_t, x_0) || p(x_(t-1) | x_t)) for a squared error of x_0: L_(t-1).

    before and now are bar_alpha_(t-1) and bar_alpha_t. The means differ by that of x_0 (DDPM, eq.
    7); p has the posterior's variance, or beta_t.
    """
    beta = 1 - now / before
    true = beta * (1 - before) / (1 - now)
    own = {"posterior": true, "beta": beta}[variance]
    gap = before * (beta / (1 - now)) ** 2 * error
    return 0.5 * (true / own - 1 - math.log(true / own) + gap / own)


def decoder_nats(x_0: Tensor, mean: Tensor, spread: float, low: float, high: float) -> Tensor:
    """Return -log of N(mean, spread^2)'s mass in the bin of each value of x_0: L_0.

    x_0 are 256 values, evenly from low to high; the outermost bins reach to infinity (DDPM, eq.
    13). The chain's last variance is beta_1.
    """
    x_0, mean, half = x_0.double(), mean.double(), (high - low) / 255 / 2
    above = ((x_0 + half - mean) / spread).masked_fill(x_0 > high - half, math.inf)
    below = ((x_0 - half - mean) / spread).masked_fill(x_0 < low + half, -math.inf)
    # In the upper tail both masses are nearly 1: there the mirror image is taken.
    above, below = torch.where(below > 0, -below, above), torch.where(below > 0, -above, below)
    log_above, log_below = torch.special.log_ndtr(above), torch.special.log_ndtr(below)
    return -(log_above + torch.log(-torch.expm1(log_below - log_above)))


def _mean(values: Tensor) -> Tensor:
    """Return the mean over each image's values, N float64 on the CPU."""
    return values.flatten(1).double().mean(1).cpu()
