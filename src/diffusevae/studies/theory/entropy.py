"""How uncertain one step back is: H(X_{t-1} | X_t) between its bounds, step by step.

The main source's section 2.1 (eq. 2.2, 2.3; Sohl-Dickstein et al. 2015, section 2.6) has, in nats,

    H(X_{t-1} | X_t, X_0) <= H(X_{t-1} | X_t) <= H(X_t | X_{t-1}).

The left one always holds: to know X_0 too cannot make X_{t-1} less certain. The right one says
that H(X_t) grows, for H(X_{t-1} | X_t) = H(X_t | X_{t-1}) + H(X_{t-1}) - H(X_t). That is no law of
every data set: it holds at all steps where the mean variance of a number of x_0 is at most 1,
whatever its distribution; of data that vary more the last steps break it (docs/study.md, 3).
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffusevae.core.randomness import generator, seed_of
from diffusevae.data.dataset import count_at_once
from diffusevae.metrics.bootstrap import interval
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.models.schedule import NoiseSchedule
from diffusevae.sampling.denoising import Way, predict_x_0
from diffusevae.studies.theory.theory_config import TheoryConfig

GAUSSIAN = 0.5 * math.log(2 * math.pi * math.e)  # entropy of a normal number of variance 1
ALONE = Way(guidance=0.0, hidden="all", clip=True, launched="plain")


def bound_below(schedule: NoiseSchedule, t: int) -> float:
    """Return H(X_{t-1} | X_t, X_0) per number: that of the posterior's variance; t: 1 .. T-1."""
    alpha_bars = schedule.alpha_bars
    variance = (1 - alpha_bars[t - 1]) / (1 - alpha_bars[t]) * schedule.betas[t]
    return GAUSSIAN + 0.5 * math.log(variance)


def bound_above(schedule: NoiseSchedule, t: int) -> float:
    """Return H(X_t | X_{t-1}) per number: the entropy of the noise that the step forward adds."""
    return GAUSSIAN + 0.5 * math.log(schedule.betas[t])


def entropy_of_errors(schedule: NoiseSchedule, t: int, errors: np.ndarray) -> float:
    """Return the entropy of X_{t-1} given X_t, per number, where x_0 has D independent errors.

    errors (D): the variances that x_t leaves to x_0. Each adds half of
    ln(1 + (snr_{t-1} - snr_t) error) to the lower bound. Exact for Gaussian x_0. For any other it
    is no less than the true entropy, be the errors those of whichever predictor: of all densities
    with these second moments the Gaussian's has the most.
    """
    alpha_bars = schedule.alpha_bars
    snr = alpha_bars / (1 - alpha_bars)
    gained = np.log1p(float(snr[t - 1] - snr[t]) * np.asarray(errors))
    return bound_below(schedule, t) + 0.5 * float(gained.mean())


def entropy_of_gaussian(schedule: NoiseSchedule, t: int, variances: np.ndarray) -> float:
    """Return H(X_{t-1} | X_t) per number of Gaussian x_0 with these principal variances (D)."""
    snr = float(schedule.alpha_bars[t] / (1 - schedule.alpha_bars[t]))
    return entropy_of_errors(schedule, t, variances / (1 + snr * variances))


def choose_levels(num_timesteps: int, num_levels: int) -> list[int]:
    """Return steps t = 1 .. T-1, at most as many: one half even in ln t, the other even in t."""
    half, last = num_levels // 2, num_timesteps - 1
    spaced = np.geomspace(1, last, num_levels - half)
    return sorted({round(t) for t in [*spaced, *np.linspace(1, last, half + 2)[1:-1]]})


@torch.inference_mode()
def measure_errors(
    model: DiffusionModel, images: Tensor, condition: Tensor | None, t: int, seed: int
) -> np.ndarray:
    """Return N mean squared errors of the x_0 that a model predicts at t, in diffusion's range.

    images and condition, which is x_hat: N x C x H x W in [0,1] on the model's device.
    """
    eps = torch.randn(images.shape, generator=generator(seed, "entropy", t)).to(images.device)
    times, found = torch.full((1,), t, device=images.device), []
    for some in torch.arange(len(images)).split(count_at_once(images.shape[1:])):
        x_0 = model.to_diffusion_range(images[some])
        known = [] if condition is None else [condition[some]]
        x_t = model.add_noise(x_0, times, eps[some])
        error = predict_x_0(model, x_t, times, known, ALONE) - x_0
        found.append(error.square().flatten(1).mean(1).double().cpu())
    return torch.cat(found).numpy()


def bound_entropies(
    models: Mapping[str, tuple[DiffusionModel, Tensor | None]],
    images: Tensor,
    variances: np.ndarray,
    config: TheoryConfig,
    seed: int,
    say: Callable[[str], None],
) -> pd.DataFrame:
    """Return a row for each step looked at: the bounds, and estimates between, in nats per number.

    lower and upper are the source's; gaussian is the entropy of Gaussian images with the data's
    principal variances (D, in diffusion's range); a model's column is what its errors prove the
    entropy to be at most, its 95 % interval over the images. models: each with its x_hat, if any;
    all have the same schedule. The data's own entropy lies between lower and the least of these.
    """
    schedule = next(iter(models.values()))[0].schedule
    rows = []
    for t in choose_levels(schedule.num_timesteps, config.num_levels):
        row = {
            "t": t,
            "alpha_bar": float(schedule.alpha_bars[t]),
            "lower": bound_below(schedule, t),
            "upper": bound_above(schedule, t),
            "gaussian": entropy_of_gaussian(schedule, t, variances),
        }
        for name, (model, condition) in models.items():
            errors = measure_errors(model, images, condition, t, seed)
            found = interval(errors, seed_of(seed, "entropy"), config.num_resamples)
            row |= {
                name + end: entropy_of_errors(schedule, t, np.array([found[key]]))
                for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))
            }
        rows.append(row)
    say(f"mean variance of a number of x_0: {variances.mean():.3f} (above 1 H(X_t) would not grow)")
    return pd.DataFrame(rows)
