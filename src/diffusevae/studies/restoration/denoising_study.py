"""Noise taken from test images: by the trained models, and by classical methods."""

import torch
from torch import Tensor

from diffusevae.core.randomness import generator, seed_of
from diffusevae.metrics.classical import FILTERS, add_noise, choose_setting, filter_images
from diffusevae.sampling.generation import Models
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.restoration.classical_fills import expect_less_noise
from diffusevae.studies.restoration.code_search import search_codes
from diffusevae.studies.restoration.posterior import average, expect_clean, sample_posterior
from diffusevae.studies.restoration.restoration_config import RestoreConfig, ToRestore
from diffusevae.studies.restoration.restored import (
    DDPM_ONE_STEP,
    DDPM_POSTERIOR,
    DIFFUSEVAE_ONE_STEP,
    VAE_CODES,
    Restored,
)

GAUSSIAN = "Gaussian conditional mean"


def make_noisy(images: Tensor, noise: float, seed: int, part: str) -> Tensor:
    """Return images with noise of that standard deviation, not clipped."""
    return add_noise(images, noise, generator(seed, "restoration noise", part, f"{noise:g}"))


def filter_classically(
    images: ToRestore, noisy: Tensor, noise: float, seed: int
) -> dict[str, Restored]:
    """Return what classical methods make of noisy test images, as is best for validation images."""
    other = make_noisy(images.validation, noise, seed, "validation")
    restored = {GAUSSIAN: Restored(expect_less_noise(images.pixels, noisy, noise), classical=True)}
    for method in FILTERS:
        setting = choose_setting(images.validation, other, method, noise, "mse")
        filtered = filter_images(noisy, method, setting, noise)
        restored[method] = Restored(filtered, classical=True, setting=f"{setting:g}")
    return restored


def denoise_by_models(
    models: Models,
    sampler: SamplerConfig,
    config: RestoreConfig,
    images: ToRestore,
    noisy: Tensor,
    noise: float,
    seed: int,
) -> dict[str, Restored]:
    """Return what the VAE's codes, the DDPM and DiffuseVAE make of noisy test images.

    One step asks a network for E[x_0 | x_t] at the noise level at hand. A code starts from what
    the DDPM's one step makes of the image.
    """
    everywhere = torch.ones(noisy.shape[1:])
    one_step = expect_clean(models.ddpm, noisy, noise)
    drawn = sample_posterior(
        models.ddpm,
        sampler,
        noisy.repeat_interleave(config.num_samples, 0),
        everywhere,
        images.variance,
        noise,
        seed_of(seed, "denoising"),
    )
    picture = search_codes(
        models.vae,
        models.mixture,
        noisy,
        everywhere,
        one_step,
        max(noise, config.spread),
        config.code_steps,
        config.code_learning_rate,
    )
    refined = expect_clean(models.diffusevae, noisy, noise, picture)
    return {
        VAE_CODES: Restored(picture, classical=False),
        DDPM_ONE_STEP: Restored(one_step, classical=False),
        DDPM_POSTERIOR: average(drawn, len(noisy)),
        DIFFUSEVAE_ONE_STEP: Restored(refined, classical=False),
    }
