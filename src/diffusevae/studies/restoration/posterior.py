"""Images given what was observed of them: single draws, their means, and one step to E[x_0|x_t]."""

import torch
from torch import Tensor

from diffusevae.data.dataset import in_batches
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.denoising import Way, predict_x_0
from diffusevae.sampling.fields import want_pixels
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.sampling.samplers import sample
from diffusevae.sampling.timesteps import find_level
from diffusevae.studies.restoration.restored import Restored

PLAIN = Way(guidance=0.0, hidden="all", clip=True, launched="plain")


def average(answers: Tensor, count: int) -> Restored:
    """Return the mean of as many answers to each of `count` questions.

    Answers to one question lie beside each other. The mean of the posterior has the least squared
    error, which a single draw from it doubles.
    """
    each = len(answers) // count
    mean = answers.reshape(count, each, *answers.shape[1:]).mean(1)
    return Restored(mean, classical=False, setting=f"mean of {each}")


def sample_posterior(
    model: DiffusionModel,
    sampler: SamplerConfig,
    observed: Tensor,
    known: Tensor,
    variance: float,
    noise: float,
    seed: int,
) -> Tensor:
    """Return images drawn given their known pixels (C x H x W), with noise of that deviation.

    variance: that of clean pixels; it and the noise are those of images in [0, 1].
    """
    low, high = model.x_0_bounds
    mask = known.expand(observed.shape)
    field = want_pixels(model, observed, mask, variance * (high - low) ** 2, noise * (high - low))
    return sample(model, sampler, len(observed), seed, field=field)


@torch.inference_mode()
def expect_clean(
    model: DiffusionModel, noisy: Tensor, noise: float, x_hat: Tensor | None = None
) -> Tensor:
    """Return the network's E[x_0 | x_t] of noisy images at the level that they have: one step.

    noisy: N x C x H x W, not clipped; x_hat: for DiffuseVAE. In [0, 1] on the CPU.
    """
    device = model.sqrt_noise.device
    low, high = model.x_0_bounds
    t = find_level(model.schedule.alpha_bars, noise * (high - low))
    scale = float(model.schedule.alpha_bars[t]) ** 0.5
    times = torch.full((1,), t, device=device)
    hints = [()] * len(in_batches(noisy)) if x_hat is None else [(x,) for x in in_batches(x_hat)]
    clean = []
    for part, hint in zip(in_batches(noisy), hints, strict=True):
        x_t = scale * model.to_diffusion_range(part.to(device))
        given = [each.to(device) for each in hint]
        clean.append(model.to_unit_range(predict_x_0(model, x_t, times, given, PLAIN)).cpu())
    return torch.cat(clean)
