"""How much is restored and computed, and of which images."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from diffusevae.core.params import PositiveCount, Range
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.restoration.classical_fills import PixelGaussian, fit_pixels


@dataclass(frozen=True)
class RestoreConfig:
    """How many test images are damaged in every way, and how much the models may compute.

    What is restored is the mean of several answers, which has the least squared error: of
    num_samples drawn from noise, or of num_codes drawn from an estimate or from as many codes.
    num_steps of the ancestral sampler, each num_rounds times in RePaint; code_steps of Adam for a
    code, whose picture agrees with known pixels up to `spread`. num_settings_images validation
    images set the classical methods, and say which estimate is the best and how good.
    """

    num_images: PositiveCount
    num_settings_images: PositiveCount
    num_resamples: PositiveCount
    noise_levels: tuple[Annotated[float, Range(0.001, 10)], ...]
    num_steps: PositiveCount
    num_rounds: PositiveCount
    num_samples: PositiveCount
    num_codes: PositiveCount
    code_steps: PositiveCount
    code_learning_rate: Annotated[float, Range(1e-6, 10)]
    spread: Annotated[float, Range(1e-3, 10)]

    def __post_init__(self) -> None:
        if not self.noise_levels:
            raise ValueError("noise_levels: expected one or more")


@dataclass(frozen=True, eq=False)
class ToRestore:
    """Training, validation and test images, N x C x H x W in [0,1]; moments of the first's pixels.

    Validation and test images are as many as the configuration says.
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    pixels: PixelGaussian

    @property
    def variance(self) -> float:
        """That of a pixel, on average."""
        return float(self.pixels.factor.square().sum(0).mean())


def choose_images(
    config: RestoreConfig, train: Tensor, validation: Tensor, test: Tensor
) -> ToRestore:
    """Return the images to work with, of all of each split (in [0,1])."""
    validation, test = validation[: config.num_settings_images], test[: config.num_images]
    return ToRestore(train, validation, test, fit_pixels(train))


def choose_sampler(sampler: SamplerConfig, config: RestoreConfig) -> SamplerConfig:
    """Return the ancestral sampler in the study's number of steps."""
    return dataclasses.replace(
        sampler,
        sampler="ddpm",
        variance="posterior",
        num_steps=config.num_steps,
        guidance=0.0,
        temperature=1.0,
        shared_noise=False,
    )
