"""Samplers: from x_T ~ N(0, I) to an image, with a trained diffusion model (SPEC section 3)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from diffusevae.diffusion import DiffusionModel
from diffusevae.params import PositiveCount, Range, Share
from diffusevae.randomness import generator

Callback = Callable[[int, Tensor, Tensor], None]


@dataclass(frozen=True)
class SamplerConfig:
    """Which reverse process, in how many steps.

    "ddpm" is the ancestral sampler with sigma^2 = beta_t ("beta"), tilde_beta_t ("posterior") or
    0 ("zero"); "ddim" has eta in [0,1] (DDIM, eq. 16). guidance is the w of SPEC section 3.
    """

    sampler: Literal["ddpm", "ddim"]
    num_steps: Annotated[int, Range(1, 10_000)]
    eta: Share
    variance: Literal["beta", "posterior", "zero"]
    guidance: Annotated[float, Range(0, 100)]
    batch_size: PositiveCount


def choose_timesteps(num_timesteps: int, num_steps: int) -> list[int]:
    """Return num_steps timesteps from T-1 down, evenly spaced; all T of them end at 0.

    The last of few steps starts well above 0, where the network still sees the noise it is to take
    away ("trailing" spacing: Lin et al. 2024, "Common diffusion noise schedules and sample steps
    are flawed", table 2). Raises ValueError where more steps are asked for than the chain has.
    """
    if num_steps > num_timesteps:
        raise ValueError(f"num_steps {num_steps} is more than the {num_timesteps} timesteps of "
                         f"the model; use at most {num_timesteps}")
    return [round(num_timesteps - i * num_timesteps / num_steps) - 1 for i in range(num_steps)]


def ddpm_step(
    x_t: Tensor, x_0: Tensor, alpha_bar: float, alpha_bar_prev: float, variance: str, noise: Tensor
) -> Tensor:
    """Return x at the previous chosen timestep by the ancestral step (DDPM, eq. 6 and 7).

    Between timesteps that are not neighbours, beta is 1 - bar_alpha / bar_alpha_prev. No noise is
    added at the last step, where bar_alpha_prev is 1.
    """
    beta = 1 - alpha_bar / alpha_bar_prev
    posterior = beta * (1 - alpha_bar_prev) / (1 - alpha_bar)
    mean = (alpha_bar_prev**0.5 * beta * x_0
            + (1 - beta) ** 0.5 * (1 - alpha_bar_prev) * x_t) / (1 - alpha_bar)
    sigma2 = {"beta": beta, "posterior": posterior, "zero": 0.0}[variance]
    return mean if alpha_bar_prev == 1 else mean + sigma2**0.5 * noise


def ddim_step(
    x_0: Tensor, eps: Tensor, alpha_bar: float, alpha_bar_prev: float, eta: float, noise: Tensor
) -> Tensor:
    """Return x at the previous chosen timestep by DDIM (Song et al. 2021, eq. 12 and 16)."""
    sigma2 = eta**2 * (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)
    direction = max(1 - alpha_bar_prev - sigma2, 0.0) ** 0.5 * eps
    return alpha_bar_prev**0.5 * x_0 + direction + sigma2**0.5 * noise


@torch.inference_mode()
def sample(
    model: DiffusionModel,
    config: SamplerConfig,
    num_images: int,
    seed: int,
    x_hat: Tensor | None = None,
    callback: Callback | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Return num_images images in [0,1] on the CPU, refined from x_hat (num_images x C x H x W).

    `callback(t, x_t, x_0)` sees every step of every batch (x_t in the range of diffusion, the
    predicted x_0 in [0,1]; the last call has t = -1), `progress(done, total)` every batch.
    """
    device = model.sqrt_noise.device
    images = []
    for start in range(0, num_images, config.batch_size):
        count = min(config.batch_size, num_images - start)
        condition = None if x_hat is None else x_hat[start : start + count].to(device)
        x_0 = _sample_batch(model, config, count, (seed, start), condition, callback)
        images.append(x_0.cpu())
        if progress is not None:
            progress(start + count, num_images)
    return torch.cat(images)


def _sample_batch(
    model: DiffusionModel, config: SamplerConfig, count: int, place: tuple[int, int],
    x_hat: Tensor | None, callback: Callback | None,
) -> Tensor:  # fmt: skip
    rng = generator(place[0], "sample", place[1], device=model.sqrt_noise.device)
    shape = (count, *model.unet.image_shape)
    alpha_bars = model.schedule.alpha_bars.tolist()
    timesteps = choose_timesteps(model.schedule.num_timesteps, config.num_steps)
    low, high = model.x_0_bounds
    x = torch.randn(shape, generator=rng, device=rng.device)
    x = x.contiguous(memory_format=torch.channels_last)
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        times = torch.full((count,), t, device=rng.device)
        x_0, eps = model.split(x, times, model.network(x, times, x_hat, config.guidance))
        clipped = x_0.clamp(low, high)
        if callback is not None:
            callback(t, x, model.to_unit_range(clipped))
        alpha_bar, alpha_bar_prev = alpha_bars[t], alpha_bars[t_prev] if t_prev >= 0 else 1.0
        noise = torch.randn(shape, generator=rng, device=rng.device)
        if config.sampler == "ddpm":
            x = ddpm_step(x, clipped, alpha_bar, alpha_bar_prev, config.variance, noise)
        else:
            eps = (x - alpha_bar**0.5 * clipped) / (1 - alpha_bar) ** 0.5  # of the clipped x_0
            x = ddim_step(clipped, eps, alpha_bar, alpha_bar_prev, config.eta, noise)
    image = model.to_unit_range(x)
    if callback is not None:
        callback(-1, x, image)
    return image
