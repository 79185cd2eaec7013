"""Images of which some pixels are known, by RePaint: known ones are set, unknown ones sampled."""

import torch
from torch import Tensor

from diffusevae.core.device import launch
from diffusevae.core.randomness import generator
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.denoising import Denoise, Way, make_denoiser
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.sampling.solvers import ddpm_step
from diffusevae.sampling.timesteps import choose_timesteps, with_next


@torch.inference_mode()
def repaint(
    model: DiffusionModel,
    config: SamplerConfig,
    observed: Tensor,
    known: Tensor,
    seed: int,
    num_rounds: int,
    condition: Tensor | None = None,
) -> Tensor:
    """Return images (N x C x H x W in [0,1], CPU) with the known pixels of `observed`.

    Lugmayr et al. 2022, "RePaint: inpainting using denoising diffusion probabilistic models",
    algorithm 1: each step of the ancestral sampler is taken `num_rounds` times, with the noise of
    one step added in between, so that unknown pixels agree with known ones. Of `config`, the
    number of steps and how they are taken count, not the sampler. observed: N x C x H x W in [0,1];
    known: of the same shape, 1 where a pixel is known, else 0; condition: N x_hat for DiffuseVAE.
    """
    device = model.sqrt_noise.device
    images = []
    for start in range(0, len(observed), config.batch_size):
        rows = slice(start, start + config.batch_size)
        part = observed[rows].to(device)
        conditions = [] if condition is None else [condition[rows].to(device)]
        launched = launch(device, len(observed) * config.num_steps * num_rounds)
        way = Way(config.guidance, config.guided_by, config.clip, launched)
        denoise = make_denoiser(model, conditions, len(part), way)
        rng = generator(seed, "repaint", start)
        made = _repaint_batch(model, config, denoise, part, known[rows].to(device), num_rounds, rng)
        images.append(made.cpu())
    return torch.cat(images)


def _repaint_batch(
    model: DiffusionModel,
    config: SamplerConfig,
    denoise: Denoise,
    observed: Tensor,
    known: Tensor,
    num_rounds: int,
    rng: torch.Generator,
) -> Tensor:
    def draw() -> Tensor:
        return torch.randn(observed.shape, generator=rng).to(observed.device)

    clean = model.to_diffusion_range(observed)
    alpha_bars = model.schedule.alpha_bars.tolist()
    timesteps = choose_timesteps(model.schedule.num_timesteps, config.num_steps, config.spacing)
    x = draw()
    for t, now, then in with_next([(t, alpha_bars[t]) for t in timesteps]):
        rounds = 1 if then == 1 else num_rounds
        for number in range(rounds):
            unknown = ddpm_step(x, denoise(x, t), now, then, config.variance, draw())
            seen = then**0.5 * clean + (1 - then) ** 0.5 * draw()
            x = known * seen + (1 - known) * unknown
            if number < rounds - 1:
                x = (now / then) ** 0.5 * x + (1 - now / then) ** 0.5 * draw()
    return model.to_unit_range(x)
