"""Samplers: from x_T ~ N(0, I) to an image, with a trained diffusion model (docs/study.md, 3)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import PositiveCount, Range, Share
from diffusevae.core.randomness import generator
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.solvers import (
    ddim_step,
    ddpm_step,
    dpmpp_2m_step,
    look_ahead,
    unipc_correct,
)

Callback = Callable[[int, Tensor, Tensor], None]
SamplerName = Literal["ddpm", "ddim", "ddim_ahead", "dpmpp_2m", "unipc"]


@dataclass(frozen=True)
class SamplerConfig:
    """Which reverse process, in how many steps; each step runs the network once.

    "ddpm" is the ancestral sampler with sigma^2 = beta_t ("beta"), tilde_beta_t ("posterior") or
    0 ("zero"); "ddim" has eta in [0,1] (DDIM, eq. 16); "ddim_ahead" is DDIM in one step more, the
    last of which is not computed but read off the line through the two predictions before it, for
    the very few steps (docs/performance.md); "dpmpp_2m" (DPM-Solver++) and "unipc" are second-order
    solvers that draw no noise on the way. spacing: `choose_timesteps`. clip: whether the predicted
    x_0 is kept in its range. temperature multiplies all noise that is drawn; shared_noise draws it
    once for all images. guidance is the w of classifier-free guidance, which
    only a model trained with p_uncond above 0 knows.
    """

    sampler: SamplerName
    num_steps: Annotated[int, Range(1, 10_000)]
    spacing: Literal["trailing", "leading", "linspace"]
    eta: Share
    variance: Literal["beta", "posterior", "zero"]
    clip: bool
    guidance: Annotated[float, Range(0, 100)]
    temperature: Annotated[float, Range(0, 10)]
    shared_noise: bool
    batch_size: PositiveCount

    def __post_init__(self) -> None:
        if starts_without_noise(self.sampler, self.num_steps, self.spacing):
            raise ValueError(
                f"num_steps 1 with spacing {self.spacing} is a step at t = 0, where "
                "the model has seen no noise to start from; use trailing, or 2 steps"
            )


def starts_without_noise(sampler: str, num_steps: int, spacing: str) -> bool:
    """Return whether the one step that is taken would be the last of the chain, at t = 0."""
    return num_steps == 1 and spacing != "trailing" and sampler != "ddim_ahead"


def most_steps(sampler: str, num_timesteps: int) -> int:
    """Return in how many steps a sampler can run: ddim_ahead leaves one timestep out."""
    return num_timesteps - (sampler == "ddim_ahead")


def choose_timesteps(num_timesteps: int, num_steps: int, spacing: str = "trailing") -> list[int]:
    """Return num_steps timesteps, highest first, evenly spaced; all T of them are T-1 .. 0.

    "trailing" starts at T-1, where nothing of the image is left, and ends well above 0, where there
    is still noise to take away; "leading" starts below T-1 and ends at 0; "linspace" does both ends
    (Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", table 2).
    Raises InputError where more steps are asked for than the chain has.
    """
    if num_steps > num_timesteps:
        raise InputError(
            f"num_steps {num_steps} is more than the {num_timesteps} timesteps of "
            f"the model; use at most {num_timesteps}"
        )
    steps = range(num_steps)
    if spacing == "trailing":
        return [round(num_timesteps - i * num_timesteps / num_steps) - 1 for i in steps]
    if spacing == "leading":
        return [i * (num_timesteps // num_steps) for i in reversed(steps)]
    return [round(i * (num_timesteps - 1) / max(num_steps - 1, 1)) for i in reversed(steps)]


def check_guidance(config: SamplerConfig, p_uncond: float) -> None:
    """Raise InputError for guidance of a model that never had its condition hidden in training.

    What such a network answers to "none" means nothing, and guidance moves away from it.
    """
    if config.guidance > 0 and p_uncond == 0:
        raise InputError(
            f"guidance {config.guidance:g}: needs a model trained without its "
            "condition too; set guidance to 0, or train one with p_uncond above 0"
        )


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
    predicted x_0 in [0,1]; the last call has t = -1), `progress(done, total)` every batch. Raises
    InputError for guidance that the model has not learned.
    """
    if x_hat is not None:
        check_guidance(config, model.p_uncond)
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
    model: DiffusionModel,
    config: SamplerConfig,
    count: int,
    place: tuple[int, int],
    x_hat: Tensor | None,
    callback: Callback | None,
) -> Tensor:
    seed, start = place
    rng = generator(
        seed, "sample", 0 if config.shared_noise else start, device=model.sqrt_noise.device
    )
    alpha_bars = model.schedule.alpha_bars.tolist()
    timesteps, ahead = _choose_steps(config, model.schedule.num_timesteps)
    low, high = model.x_0_bounds

    def draw() -> Tensor:
        drawn = torch.randn(
            1 if config.shared_noise else count,
            *model.unet.image_shape,
            generator=rng,
            device=rng.device,
        )
        return config.temperature * drawn.expand(count, -1, -1, -1)

    x = draw().contiguous(memory_format=torch.channels_last)
    before = x
    past: list[tuple[float, Tensor]] = []  # (alpha_bar, x_0) of the last steps
    predicted: list[tuple[int, Tensor]] = []  # (t, x_0) of the last two
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        alpha_bar, alpha_bar_prev = alpha_bars[t], alpha_bars[t_prev] if t_prev >= 0 else 1.0
        times = torch.full((1,), t, device=rng.device)
        x_0, _ = model.split(x, times, model.network(x, times, x_hat, config.guidance))
        if config.clip:
            x_0 = x_0.clamp(low, high)
        if ahead is not None:
            predicted = [*predicted[-1:], (t, x_0)]
            if t_prev == -1 and len(predicted) == 2:
                x_0 = look_ahead(predicted, ahead)
        if callback is not None:
            callback(t, x, model.to_unit_range(x_0))
        if config.sampler == "ddpm":
            x = ddpm_step(x, x_0, alpha_bar, alpha_bar_prev, config.variance, draw())
        elif config.sampler in ("ddim", "ddim_ahead"):
            noise = draw() if config.eta > 0 else torch.zeros_like(x)
            x = ddim_step(x, x_0, alpha_bar, alpha_bar_prev, config.eta, noise)
        else:
            past = [*past[-2:], (alpha_bar, x_0)]
            if config.sampler == "unipc" and len(past) > 1:
                x = unipc_correct(before, past)
            before, x = x, dpmpp_2m_step(x, past, alpha_bar_prev)
    image = model.to_unit_range(x)
    if callback is not None:
        callback(-1, x, image)
    return image


def _choose_steps(config: SamplerConfig, num_timesteps: int) -> tuple[list[int], int | None]:
    """Return the timesteps at which the network runs, and the one that is only looked ahead to."""
    if config.sampler != "ddim_ahead":
        return choose_timesteps(num_timesteps, config.num_steps, config.spacing), None
    if config.num_steps >= num_timesteps:
        raise InputError(
            f"num_steps {config.num_steps}: ddim_ahead leaves one of the model's "
            f"{num_timesteps} timesteps out; use at most {num_timesteps - 1}"
        )
    *timesteps, ahead = choose_timesteps(num_timesteps, config.num_steps + 1, config.spacing)
    return timesteps, ahead
