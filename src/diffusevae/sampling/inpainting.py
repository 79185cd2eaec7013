"""Images of which some pixels are known, by RePaint: known ones are set, unknown ones sampled."""

from collections.abc import Callable

import torch
from torch import Tensor

from diffusevae.core.device import launch
from diffusevae.core.randomness import generator
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.denoising import Denoise, Way, make_denoiser, send
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.sampling.solvers import ddpm_step
from diffusevae.sampling.timesteps import Levels, choose_timesteps, find_level, with_next


@torch.inference_mode()
def repaint(
    model: DiffusionModel,
    config: SamplerConfig,
    observed: Tensor,
    known: Tensor,
    seed: int,
    num_rounds: int,
    condition: Tensor | None = None,
    start: tuple[Tensor, float] | None = None,
) -> Tensor:
    """Return images (N x C x H x W in [0,1], CPU) with the known pixels of `observed`.

    Lugmayr et al. 2022, "RePaint: inpainting using denoising diffusion probabilistic models",
    algorithm 1: each step of the ancestral sampler is taken `num_rounds` times, with the noise of
    one step added in between, so that unknown pixels agree with known ones. Of `config`, the
    number of steps and how they are taken count, not the sampler. observed: N x C x H x W in [0,1];
    known: of the same shape, or C x H x W, 1 where a pixel is known, else 0; condition: N x_hat for
    DiffuseVAE. start: images like `observed`, all of whose pixels are estimates, and a noise, the
    standard deviation in [0,1]: the chain then begins where images have as much noise, with these
    (Meng et al. 2022, "SDEdit"), instead of with noise alone.
    """
    device = model.sqrt_noise.device
    levels = _choose_levels(model, config, None if start is None else start[1])
    mask = known.expand(observed.shape)
    launched = launch(device, len(observed) * len(levels) * num_rounds)
    way = Way(config.guidance, config.guided_by, config.clip, launched)
    images = []
    for first in range(0, len(observed), config.batch_size):
        rows = slice(first, first + config.batch_size)
        part = model.to_diffusion_range(observed[rows].to(device))
        conditions = [] if condition is None else [condition[rows].to(device)]
        denoise = make_denoiser(model, conditions, len(part), way)
        draw = _make_draw(part, generator(seed, "repaint", first))
        x = draw()
        if start is not None:
            estimate = model.to_diffusion_range(start[0][rows].to(device))
            alpha_bar = levels[0][1]
            x = alpha_bar**0.5 * estimate + (1 - alpha_bar) ** 0.5 * x
        x = _go_down(x, denoise, part, mask[rows].to(device), levels, num_rounds, config, draw)
        images.append(model.to_unit_range(x).cpu())
    return torch.cat(images)


def _choose_levels(model: DiffusionModel, config: SamplerConfig, noise: float | None) -> Levels:
    alpha_bars = model.schedule.alpha_bars
    last = len(alpha_bars)
    if noise is not None:
        low, high = model.x_0_bounds
        last = find_level(alpha_bars, noise * (high - low)) + 1
    timesteps = choose_timesteps(last, min(config.num_steps, last), config.spacing)
    return [(t, float(alpha_bars[t])) for t in timesteps]


def _make_draw(like: Tensor, rng: torch.Generator) -> Callable[[], Tensor]:
    return lambda: send(torch.randn(like.shape, generator=rng), like.device)


def _go_down(
    x: Tensor,
    denoise: Denoise,
    clean: Tensor,
    known: Tensor,
    levels: Levels,
    num_rounds: int,
    config: SamplerConfig,
    draw: Callable[[], Tensor],
) -> Tensor:
    """Return the image at the end of the levels, which start at x; clean: what is known of it."""
    for t, now, then in with_next(levels):
        rounds = 1 if then == 1 else num_rounds
        for number in range(rounds):
            unknown = ddpm_step(x, denoise(x, t), now, then, config.variance, draw())
            seen = then**0.5 * clean + (1 - then) ** 0.5 * draw()
            x = known * seen + (1 - known) * unknown
            if number < rounds - 1:
                x = (now / then) ** 0.5 * x + (1 - now / then) ** 0.5 * draw()
    return x
