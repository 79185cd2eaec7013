"""Samplers: from x_T ~ N(0, I) to an image, with a trained diffusion model (docs/study.md, 3)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor

from diffusevae.core.device import launch
from diffusevae.core.errors import InputError
from diffusevae.core.params import PositiveCount, Range, Share
from diffusevae.core.randomness import generator
from diffusevae.models.conditions import Hidden, check_labels
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.denoising import Denoise, Way, make_denoiser
from diffusevae.sampling.fields import Field, make_field_denoiser
from diffusevae.sampling.solvers import (
    Past,
    ddim_step,
    ddpm_step,
    dpmpp_2m_step,
    heun_step,
    look_ahead,
    unipc_correct,
)
from diffusevae.sampling.timesteps import Levels, choose_stops, starts_without_noise, with_next

Callback = Callable[[int, Tensor, Tensor], None]  # t, x_t, the predicted x_0
Draw = Callable[[], Tensor]
SamplerName = Literal["ddpm", "ddim", "ddim_ahead", "heun", "dpmpp_2m", "unipc"]


@dataclass(frozen=True)
class SamplerConfig:
    """Which reverse process, in how many steps, which are runs of the network.

    "ddpm" is the ancestral sampler with sigma^2 = beta_t ("beta"), tilde_beta_t ("posterior") or
    0 ("zero"); "ddim" has eta in [0,1] (DDIM, eq. 16); "ddim_ahead" is DDIM in one step more, the
    last of which is not computed but read off the line through the two predictions before it, for
    the very few steps (docs/performance.md); "heun" is Heun's method, of which DDIM without noise
    is Euler's, two steps of it making one; "dpmpp_2m" (DPM-Solver++) and "unipc" are second-order
    solvers too. These three draw no noise on the way. spacing: `choose_timesteps`. clip: whether
    the predicted x_0 is kept in its range. temperature multiplies all noise that is drawn;
    shared_noise draws it once for all images. guidance is the w of classifier-free guidance, which
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
    guided_by: Hidden = "all"

    def __post_init__(self) -> None:
        if starts_without_noise(self.sampler, self.num_steps, self.spacing):
            raise ValueError(
                f"num_steps 1 with spacing {self.spacing} is a step at t = 0, where "
                "the model has seen no noise to start from; use trailing, or 2 steps"
            )


def check_guidance(config: SamplerConfig, p_uncond: float) -> None:
    """Raise InputError for guidance of a model that never had its condition hidden in training.

    What such a network answers to "none" means nothing, and guidance moves away from it.
    """
    if config.guidance > 0 and p_uncond == 0:
        raise InputError(
            f"guidance {config.guidance:g}: needs a model trained without its "
            "condition too; set guidance to 0, or train one with p_uncond above 0"
        )


def sample_ddpm(
    denoise: Denoise, x: Tensor, levels: Levels, config: SamplerConfig, draw: Draw, see: Callback
) -> Tensor:
    """Return the image that the ancestral sampler comes to from x (DDPM, algorithm 2).

    As every function of SAMPLERS it goes along `levels`, the timesteps with their bar_alpha, the
    highest first; `draw()` is noise of the shape of x, `see(t, x_t, x_0)` is told of every step.
    Images are in the range of diffusion.
    """
    for t, alpha_bar, alpha_bar_prev in with_next(levels):
        x_0 = denoise(x, t)
        see(t, x, x_0)
        x = ddpm_step(x, x_0, alpha_bar, alpha_bar_prev, config.variance, draw())
    return x


def sample_ddim(
    denoise: Denoise, x: Tensor, levels: Levels, config: SamplerConfig, draw: Draw, see: Callback
) -> Tensor:
    """Return the image that DDIM comes to from x; see `sample_ddpm`."""
    for t, alpha_bar, alpha_bar_prev in with_next(levels):
        x_0 = denoise(x, t)
        see(t, x, x_0)
        noise = draw() if config.eta > 0 else torch.zeros_like(x)
        x = ddim_step(x, x_0, alpha_bar, alpha_bar_prev, config.eta, noise)
    return x


def sample_ddim_ahead(
    denoise: Denoise, x: Tensor, levels: Levels, config: SamplerConfig, draw: Draw, see: Callback
) -> Tensor:
    """Return the image that DDIM comes to, the last timestep being looked ahead to only.

    See `sample_ddpm`. With one timestep before that one there is no line to look along.
    """
    *levels, (ahead, _) = levels
    predicted: list[tuple[int, Tensor]] = []  # (t, x_0) of the last two steps

    def denoise_ahead(x_t: Tensor, t: int) -> Tensor:
        predicted[:] = [*predicted[-1:], (t, denoise(x_t, t))]
        if t == levels[-1][0] and len(predicted) == 2:
            return look_ahead(predicted, ahead)
        return predicted[-1][1]

    return sample_ddim(denoise_ahead, x, levels, config, draw, see)


def sample_heun(
    denoise: Denoise, x: Tensor, levels: Levels, config: SamplerConfig, draw: Draw, see: Callback
) -> Tensor:
    """Return the image that Heun's method comes to from x; see `sample_ddpm`.

    The last step is Euler's, and so is the first where the network is to run an even number of
    times.
    """
    way = list(with_next(levels))
    for number, (t, alpha_bar, alpha_bar_prev) in enumerate(way):
        x_0 = denoise(x, t)
        see(t, x, x_0)
        ahead = ddim_step(x, x_0, alpha_bar, alpha_bar_prev, 0.0, x)
        if alpha_bar_prev == 1 or (number == 0 and config.num_steps % 2 == 0):
            x = ahead
        else:
            x_0_ahead = denoise(ahead, way[number + 1][0])
            x = heun_step(x, x_0, ahead, x_0_ahead, alpha_bar, alpha_bar_prev)
    return x


def sample_dpmpp_2m(
    denoise: Denoise, x: Tensor, levels: Levels, config: SamplerConfig, draw: Draw, see: Callback
) -> Tensor:
    """Return the image that DPM-Solver++(2M) comes to from x; see `sample_ddpm`."""
    past: Past = []
    for t, alpha_bar, alpha_bar_prev in with_next(levels):
        past = [*past[-1:], (alpha_bar, denoise(x, t))]
        see(t, x, past[-1][1])
        x = dpmpp_2m_step(x, past, alpha_bar_prev)
    return x


def sample_unipc(
    denoise: Denoise, x: Tensor, levels: Levels, config: SamplerConfig, draw: Draw, see: Callback
) -> Tensor:
    """Return the image that UniPC of second order comes to from x; see `sample_ddpm`."""
    before = x
    past: Past = []
    for t, alpha_bar, alpha_bar_prev in with_next(levels):
        past = [*past[-2:], (alpha_bar, denoise(x, t))]
        see(t, x, past[-1][1])
        if len(past) > 1:
            x = unipc_correct(before, past)
        before, x = x, dpmpp_2m_step(x, past, alpha_bar_prev)
    return x


SAMPLERS: dict[SamplerName, Callable[..., Tensor]] = {
    "ddpm": sample_ddpm,
    "ddim": sample_ddim,
    "ddim_ahead": sample_ddim_ahead,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
    "unipc": sample_unipc,
}


@torch.inference_mode()
def sample(
    model: DiffusionModel,
    config: SamplerConfig,
    num_images: int,
    seed: int,
    condition: Tensor | None = None,
    callback: Callback | None = None,
    progress: Callable[[int, int], None] | None = None,
    field: Field | None = None,
    labels: Tensor | None = None,
) -> Tensor:
    """Return num_images images in [0,1] on the CPU; DiffuseVAE's of as many conditions in [0,1].

    `callback(t, x_t, x_0)` sees every step of every batch (x_t in the range of diffusion, the
    predicted x_0 in [0,1]; the last call has t = -1), `progress(done, total)` every batch. A field
    says which images are wanted (`sampling.fields`), labels (N) are the classes that the model is
    told; one that knows classes is told none where they are left out. Noise is drawn on the CPU, so
    that a seed has the same on every device. Raises InputError for guidance that the model has not
    learned, and for classes that it does not know.
    """
    given = [each for each in (condition, labels) if each is not None]
    if given:
        check_guidance(config, model.p_uncond)
    if labels is not None:
        check_labels(labels, model.unet.num_classes)
    device = model.sqrt_noise.device
    whole = num_images - num_images % config.batch_size  # images in batches of the full size
    images = []
    for start in range(0, num_images, config.batch_size):
        end = min(start + config.batch_size, num_images)
        alike = whole if end <= whole else end - start
        launched = launch(device, alike * config.num_steps)
        way = Way(config.guidance, config.guided_by, config.clip, launched)
        rng = generator(seed, "sample", 0 if config.shared_noise else start)
        part = [each[start:end].to(device) for each in given]
        if field is None:
            denoise = make_denoiser(model, part, end - start, way)
        else:
            rows = slice(start, end)
            denoise = make_field_denoiser(model, part, way, field, rows)
        images.append(_sample_batch(model, config, denoise, end - start, rng, callback).cpu())
        if progress is not None:
            progress(end, num_images)
    return torch.cat(images)


def _sample_batch(
    model: DiffusionModel,
    config: SamplerConfig,
    denoise: Denoise,
    count: int,
    rng: Generator,
    callback: Callback | None,
) -> Tensor:
    shape = (1 if config.shared_noise else count, *model.unet.image_shape)
    device = model.sqrt_noise.device

    def draw() -> Tensor:
        drawn = torch.randn(*shape, generator=rng)
        if device.type == "cuda":
            drawn = drawn.pin_memory().to(device, non_blocking=True)  # the next step need not wait
        return config.temperature * drawn.expand(count, -1, -1, -1)

    def see(t: int, x_t: Tensor, x_0: Tensor) -> None:
        if callback is not None:
            callback(t, x_t, model.to_unit_range(x_0))

    x = draw().contiguous(memory_format=torch.channels_last)
    timesteps = choose_stops(
        config.sampler, model.schedule.num_timesteps, config.num_steps, config.spacing
    )
    alpha_bars = model.schedule.alpha_bars.tolist()
    levels = [(t, alpha_bars[t]) for t in timesteps]
    x = SAMPLERS[config.sampler](denoise, x, levels, config, draw, see)
    see(-1, x, x)
    return model.to_unit_range(x)
