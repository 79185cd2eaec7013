"""Unknown pixels of test images filled in: by the trained models, and by classical methods."""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import partial

from torch import Tensor

from diffusevae.core.randomness import seed_of
from diffusevae.sampling.generation import Models
from diffusevae.sampling.inpainting import repaint
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.restoration.classical_fills import find_neighbours, list_fills
from diffusevae.studies.restoration.code_search import search_codes
from diffusevae.studies.restoration.posterior import average, sample_posterior
from diffusevae.studies.restoration.restoration_config import RestoreConfig, ToRestore
from diffusevae.studies.restoration.restored import (
    DDPM_ESTIMATE,
    DDPM_POSTERIOR,
    DDPM_REPAINT,
    DIFFUSEVAE_ESTIMATE,
    DIFFUSEVAE_REPAINT,
    VAE_CODES,
    Restored,
    error_of,
)

SURE = 0.01  # standard deviation that known pixels are said to have, in [0, 1]
LEAST = 1e-6  # squared error that an estimate is said to have


def fill_classically(images: ToRestore, known: Tensor) -> dict[str, Restored]:
    """Return what classical methods make of the test images, as is best for validation images.

    known: C x H x W, 1 where a pixel is known, else 0.
    """
    restored = {}
    for name, (fill, settings) in list_fills(images.train, images.pixels, known).items():
        errors = {
            setting: _validate(images, known, fill(images.validation * known, setting))
            for setting in settings
        }
        best = min(settings, key=errors.__getitem__)
        filled = fill(images.test * known, best)
        restored[name] = Restored(filled, True, f"{best:g}", errors[best])
    return restored


def picture_codes(
    models: Models, config: RestoreConfig, train: Tensor, observed: Tensor, known: Tensor
) -> Tensor:
    """Return num_codes pictures of every observed image, side by side.

    Codes start from those of the nearest training images by the known pixels, these put in.
    """
    near = find_neighbours(train, observed, known, config.num_codes)
    starts = known * observed[:, None] + (1 - known) * train[near]
    return search_codes(
        models.vae,
        models.mixture,
        observed.repeat_interleave(near.shape[1], 0),
        known,
        starts.flatten(0, 1),
        config.spread,
        config.code_steps,
        config.code_learning_rate,
    )


def fill_by_codes(
    models: Models, config: RestoreConfig, images: ToRestore, known: Tensor
) -> tuple[Restored, Tensor]:
    """Return the mean picture of probable codes of each test image, and all of the pictures."""
    seen, pictures = (
        picture_codes(models, config, images.train, part * known, known)
        for part in (images.validation, images.test)
    )
    error = _validate(images, known, average(seen, len(images.validation)).images)
    mean = average(pictures, len(images.test))
    return dataclasses.replace(mean, validation_mse=error), pictures


def fill_by_diffusion(
    models: Models,
    sampler: SamplerConfig,
    config: RestoreConfig,
    images: ToRestore,
    known: Tensor,
    estimates: Sequence[Restored],
    pictures: Tensor,
    seed: int,
) -> dict[str, Restored]:
    """Return what the DDPM and DiffuseVAE make of the test images, DiffuseVAE from pictures.

    From noise alone, and from the best of the estimates on validation images, with as much noise
    as that has error; the DDPM is given classical ones only.
    """
    observed = images.test * known
    count, seed = len(observed), seed_of(seed, "inpainting")
    codes = len(pictures) // count
    few = min(config.num_samples, codes)
    x_hat = pictures.unflatten(0, (count, codes))[:, :few].flatten(0, 1)
    some, many = (observed.repeat_interleave(each, 0) for each in (few, codes))

    def start_at(estimates: Iterable[Restored]) -> tuple[Tensor, float]:
        best = min(estimates, key=lambda each: each.validation_mse)
        noise = max(best.validation_mse, LEAST) ** 0.5
        return best.images.repeat_interleave(codes, 0), noise

    fill = partial(repaint, config=sampler, known=known, seed=seed, num_rounds=config.num_rounds)
    classical = start_at(each for each in estimates if each.classical)
    best = start_at(estimates)
    made = {
        DDPM_REPAINT: fill(models.ddpm, observed=some),
        DDPM_POSTERIOR: sample_posterior(
            models.ddpm, sampler, some, known, images.variance, SURE, seed
        ),
        DIFFUSEVAE_REPAINT: fill(models.diffusevae, observed=some, condition=x_hat),
        DDPM_ESTIMATE: fill(models.ddpm, observed=many, start=classical),
        DIFFUSEVAE_ESTIMATE: fill(models.diffusevae, observed=many, condition=pictures, start=best),
    }
    return {name: average(answers, count) for name, answers in made.items()}


def fill_all_ways(
    models: Models,
    sampler: SamplerConfig,
    config: RestoreConfig,
    images: ToRestore,
    known: Tensor,
    seed: int,
) -> dict[str, Restored]:
    """Return what each method makes of the test images, of which the known pixels are given."""
    restored = fill_classically(images, known)
    restored[VAE_CODES], pictures = fill_by_codes(models, config, images, known)
    estimates = list(restored.values())
    restored |= fill_by_diffusion(models, sampler, config, images, known, estimates, pictures, seed)
    return {
        name: dataclasses.replace(each, images=known * images.test + (1 - known) * each.images)
        for name, each in restored.items()
    }


def _validate(images: ToRestore, known: Tensor, filled: Tensor) -> float:
    """Return the error of filled validation images."""
    return float(error_of(filled, images.validation, 1 - known).mean())
