"""Quality against the number of network evaluations, and the fewest that cost nothing.

Every sampler starts from the same noise, refines the same reconstructions and generates from the
same codes, so points differ by the sampler alone and are compared pairwise. "Converged" is DDIM
with eta = 0 in many steps: where all deterministic solvers of the same equation end.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from diffusevae.core.params import PositiveCount, Share
from diffusevae.core.randomness import seed_of
from diffusevae.metrics.bootstrap import interval
from diffusevae.metrics.distribution import frechet_distance
from diffusevae.metrics.frechet_intervals import frechet_difference
from diffusevae.metrics.paired import ssim
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.generation import Models, sample_new
from diffusevae.sampling.sampler_config import SamplerConfig, SamplerName
from diffusevae.sampling.samplers import sample


@dataclass(frozen=True)
class FrontierConfig:
    """The samplers to compare, DDIM once for each eta, at each number of steps.

    num_images validation images are refined; as many others are the reference of generated ones.
    """

    samplers: tuple[SamplerName, ...]
    etas: tuple[Share, ...]
    num_steps: tuple[PositiveCount, ...]
    converged_steps: PositiveCount
    num_images: PositiveCount
    num_resamples: PositiveCount

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
    """Return features of the DDPM's and DiffuseVAE's new images, and the SSIM of refinements."""
    count, labels = len(subject.x_hat), subject.labels
    made = sample_new(models.ddpm, sampler, count, seed, labels=labels)
    return {"ddpm_frechet": subject.features(made)} | measure_images(
        *make_images(models.diffusevae, sampler, subject, seed), subject
    )


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


QUANTITIES = ("ddpm_frechet", "diffusevae_frechet", "diffusevae_ssim")


def compare_points(
    point: Mapping[str, np.ndarray],
    best: Mapping[str, np.ndarray],
    reference: np.ndarray,
    num_resamples: int,
    seed: int,
) -> dict[str, float | bool]:
    """Return a row: each quantity of a point, and its difference from the converged one's.

    Differences have intervals and are paired: both sides have the same images and noise. That of
    Fréchet distances is extrapolated to infinitely many images (`intervals`); `_converged` is the
    converged one's value at as many images as the point's. A point is not worse where the 95 %
    interval of the difference reaches zero, or lies on the better side.
    """
    row: dict[str, float | bool] = {}
    for name in point:
        if name.endswith("ssim"):
            row[name], end = float(point[name].mean()), float(best[name].mean())
            difference = interval(point[name] - best[name], seed_of(seed, name), num_resamples)
            worse = difference["high"] < 0
        else:
            row[name], end = (frechet_distance(reference, each[name]) for each in (point, best))
            difference = frechet_difference(reference, point[name], best[name])
            worse = difference["low"] > 0
        row |= {
            f"{name}_converged": end,
            f"{name}_change": difference["value"],
            f"{name}_low": difference["low"],
            f"{name}_high": difference["high"],
            f"{name}_not_worse": not worse,
        }
    return row


def choose_default(rows: pd.DataFrame) -> dict[str, object] | None:
    """Return sampler, eta and num_steps of the fewest steps at which DiffuseVAE is not worse.

    Of several samplers with as few steps the one with the smallest Fréchet distance; None where
    every point is worse than the converged one.
    """
    columns = [f"{name}_not_worse" for name in QUANTITIES if name.startswith("diffusevae_")]
    good = rows[rows[columns].all(axis=1)]
    if not len(good):
        return None
    best = good.sort_values(["num_steps", "diffusevae_frechet"], kind="stable").iloc[0]
    return {
        "sampler": best["sampler"],
        "eta": float(best["eta"]),
        "num_steps": int(best["num_steps"]),
    }


def read_point(rows: pd.DataFrame, chosen: Mapping[str, object]) -> dict[str, float]:
    """Return the quantities of DiffuseVAE at a point, as named by sampler, eta and num_steps."""
    row = rows[(rows[list(chosen)] == pd.Series(chosen)).all(axis=1)].iloc[0]
    return {name: float(row[name]) for name in QUANTITIES if name.startswith("diffusevae_")}
