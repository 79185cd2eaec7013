"""Quality against the number of network evaluations: the points, and what each makes.

Every sampler starts from the same noise, refines the same reconstructions and generates from the
same codes, so points differ by the sampler alone and are compared pairwise. "Converged" is DDIM
with eta = 0 in many steps: where all deterministic solvers of the same equation end.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from diffusevae.core.params import PositiveCount, Share
from diffusevae.core.randomness import seed_of
from diffusevae.metrics.paired import ssim
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.generation import Models, sample_new
from diffusevae.sampling.sampler_config import SamplerConfig, SamplerName
from diffusevae.sampling.samplers import sample
from diffusevae.studies.frontier.diversity import NUM_TWICE, measure_variance
from diffusevae.studies.frontier.non_inferiority import Margins

VARIANCE = "diffusevae_variance"


@dataclass(frozen=True)
class FrontierConfig:
    """The samplers to compare, DDIM once for each eta, at each number of steps.

    num_images validation images are refined; as many others are the reference of generated ones;
    as many test images confirm the choice. margins: the largest losses that do not matter.
    """

    samplers: tuple[SamplerName, ...]
    etas: tuple[Share, ...]
    num_steps: tuple[PositiveCount, ...]
    converged_steps: PositiveCount
    num_images: PositiveCount
    num_resamples: PositiveCount
    margins: Margins

    def __post_init__(self) -> None:
        for name in ("samplers", "etas", "num_steps"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected one or more")


@dataclass(frozen=True, eq=False)
class Subject:
    """What every point has in common.

    real and x_hat: images to refine and their reconstructions; decoded: VAE pictures of codes
    from the GMM. All N x C x H x W in [0, 1]. labels N: the classes of these codes, where the
    mixture knows classes. features: from images to N x D; reference: those of as many other real
    images, so that nothing is held against the image it was made from.
    """

    real: Tensor
    x_hat: Tensor
    decoded: Tensor
    labels: Tensor | None
    features: Callable[[Tensor], np.ndarray]
    reference: np.ndarray


def list_points(base: SamplerConfig, config: FrontierConfig) -> list[SamplerConfig]:
    """Return the sampler of every point."""
    points = []
    for name in config.samplers:
        for eta in config.etas if name == "ddim" else (0.0,):
            points += [
                dataclasses.replace(base, sampler=name, eta=eta, num_steps=num_steps)
                for num_steps in config.num_steps
            ]
    return points


def converged(base: SamplerConfig, config: FrontierConfig) -> SamplerConfig:
    """Return the sampler that all points are held against."""
    return dataclasses.replace(base, sampler="ddim", eta=0.0, num_steps=config.converged_steps)


def measure_point(
    models: Models, sampler: SamplerConfig, subject: Subject, seed: int
) -> dict[str, np.ndarray]:
    """Return features of the DDPM's and DiffuseVAE's new images, SSIM and variance of refinements.

    Variances are those of the first NUM_TWICE pictures, refined again from other noise.
    """
    count, labels = len(subject.x_hat), subject.labels
    made = sample_new(models.ddpm, sampler, count, seed, labels=labels)
    new, refined = make_images(models.diffusevae, sampler, subject, seed)
    shown = subject.x_hat[:NUM_TWICE]
    again = sample(models.diffusevae, sampler, len(shown), seed_of(seed, "again"), shown)
    return {
        "ddpm_frechet": subject.features(made),
        **measure_images(new, refined, subject),
        VARIANCE: measure_variance(refined[: len(shown)], again),
    }


def make_images(
    model: DiffusionModel, sampler: SamplerConfig, subject: Subject, seed: int
) -> tuple[Tensor, Tensor]:
    """Return a DiffuseVAE's new images and its refinements, N x C x H x W in [0, 1] on the CPU."""
    count, labels = len(subject.x_hat), subject.labels
    return (
        sample_new(model, sampler, count, seed, subject.decoded, labels=labels),
        sample(model, sampler, count, seed, subject.x_hat),
    )


def measure_images(new: Tensor, refined: Tensor, subject: Subject) -> dict[str, np.ndarray]:
    """Return the features of new images, N x D, and the SSIM of N refinements."""
    return {
        "diffusevae_frechet": subject.features(new),
        "diffusevae_ssim": ssim(subject.real, refined).double().numpy(),
    }
