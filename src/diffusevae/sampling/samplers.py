"""Samplers: from x_T ~ N(0, I) to an image, with a trained diffusion model (docs/study.md, 3)."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from diffusevae.core.device import launch
from diffusevae.core.randomness import generator
from diffusevae.models.conditions import check_labels
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.denoising import Denoise, Way, make_denoiser, send
from diffusevae.sampling.fields import Field, make_field_denoiser
from diffusevae.sampling.sampler_config import SamplerConfig, SamplerName, check_guidance
from diffusevae.sampling.solvers import (
    Past,
    ddim_step,
    ddpm_step,
    dpmpp_2m_step,
    heun_step,
    look_ahead,
    unipc_correct,
)
from diffusevae.sampling.timesteps import Levels, choose_stops, with_next

Callback = Callable[[int, Tensor, Tensor], None]  # t, x_t, the predicted x_0
Draw = Callable[[], Tensor]


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
        drawn = send(torch.randn(*shape, generator=rng), device)  # the next step need not wait
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
