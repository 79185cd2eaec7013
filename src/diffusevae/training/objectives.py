"""What a search minimises: measures that trials of different settings share, and analytic floors.

The study's own objectives contain what they tune: a validation loss with kl_weight in it is lowest
at the smallest weight, and how small the error of eps can be depends on the schedule
(docs/study.md, sections 5 and 11).
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.data.dataset import to_unit
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.models.schedule import NoiseSchedule

LEVELS_DB = tuple(range(-20, 21, 5))  # signal-to-noise ratios a^2 / s^2 of x_t = a x_0 + s eps
NUM_IMAGES = 200  # at each level
SMALLEST_VARIANCE = 1e-12
SOME = 10_000  # images that variances are taken from
SMALLEST_ERROR = 1 / (12 * 255**2)  # of rounding to a grey value: none can be told to be smaller


def bound_vae(error: float, kl: float, num_values: int) -> float:
    """Return the negative ELBO at beta = 1 in bits per dimension, whatever the training minimised.

    error is the mean squared error per value, kl in nats per image, num_values C * H * W. The
    decoder is a Gaussian of the best spread for that error (Rybkin et al. 2021, "Simple and
    effective VAE training with calibrated decoders", eq. 6), whichever `reconstruction` the VAE was
    trained with: so one picture has one value. Densities are those of values 0 .. 255. So these are
    bits of a density, by which trials compare, not of discrete pixels as published ones are
    (`metrics.bound`).
    """
    error = max(error, SMALLEST_ERROR)
    nats = 0.5 * math.log(2 * math.pi * math.e * error) + math.log(256) + kl / num_values
    return nats / math.log(2)


def floor_of_vae(variances: np.ndarray, kl_weight: float, num_codes: int) -> float:
    """Return the least MSE + kl_weight KL that a linear VAE with num_codes latents can reach.

    For Gaussian data with these principal variances, largest first: direction i keeps an error
    d_i = min(variance_i, kl_weight D / 2) where coded, at ln(variance_i / d_i) / 2 nats.
    """
    d = variances.copy()
    d[:num_codes] = np.minimum(variances[:num_codes], kl_weight * len(variances) / 2)
    nats = 0.5 * np.log(variances[:num_codes] / d[:num_codes]).sum()
    return float(d.mean() + kl_weight * nats)


def floor_of_eps(schedule: NoiseSchedule, variances: np.ndarray) -> float:
    """Return the least mean squared error of eps, over all t, that a linear denoiser can reach."""
    signal = schedule.alpha_bars.numpy()[:, None] * variances
    noise = 1 - schedule.alpha_bars.numpy()[:, None]
    return float((signal / (signal + noise)).mean())


def floor_of_x_0(snr: float, variances: np.ndarray) -> float:
    """Return the least mean squared error of x_0 that a linear denoiser can reach at that level."""
    return float((variances / (1 + snr * variances)).mean())


def principal_variances(images: Tensor) -> np.ndarray:
    """Return the D variances of images (N x C x H x W) along their principal axes, largest first.

    Images of uint8 are taken in [0, 1]. Taken from the first SOME images, from 3,000 where these
    are fewer than D: the smaller of the two matrices with the same eigenvalues is used.
    """
    size = images[0].numel()
    first = images[: SOME if size <= 3_000 else 3_000]
    first = to_unit(first) if first.dtype == torch.uint8 else first
    some = first.flatten(1).double().cpu().numpy()
    some = some - some.mean(axis=0)
    products = some.T @ some if size <= len(some) else some @ some.T
    variances = np.full(size, SMALLEST_VARIANCE)
    found = np.linalg.eigvalsh(products / len(some))[::-1]
    variances[: len(found)] = np.maximum(found, SMALLEST_VARIANCE)
    return variances


def shared_levels(schedules: Iterable[NoiseSchedule]) -> tuple[int, ...]:
    """Return those of LEVELS_DB that every schedule reaches: where models of all can be compared.

    Raises InputError where there are none.
    """
    lowest, highest = -math.inf, math.inf
    for schedule in schedules:
        lowest = max(lowest, float(schedule.snr_db[-1]))
        highest = min(highest, float(schedule.snr_db[0]))
    levels = tuple(level for level in LEVELS_DB if lowest <= level <= highest)
    if not levels:
        raise InputError(
            f"diffusion: its noise levels have none of {LEVELS_DB[0]} to "
            f"{LEVELS_DB[-1]} dB in common, by which objective fair compares; change "
            "beta_start, beta_end or num_timesteps"
        )
    return levels


@torch.inference_mode()
def measure_x_0_error(
    model: DiffusionModel,
    images: Tensor,
    variances: np.ndarray,
    seed: int,
    levels: Sequence[int] = LEVELS_DB,
) -> float:
    """Return the error of the predicted x_0 as a multiple of a linear denoiser's least one.

    It is taken at the timesteps nearest to the levels (signal-to-noise ratios in dB), which are the
    same for every schedule, each against the least error at that timestep's own level, and averaged
    over them geometrically. images are B x C x H x W in [0, 1], variances those of images in the
    range of diffusion.
    """
    images = images[:NUM_IMAGES]
    x_0 = model.to_diffusion_range(images)
    ratios = []
    for level in levels:
        t = int((model.schedule.snr_db - level).abs().argmin())
        rng = generator(seed, "level", level, device=images.device)
        eps = torch.randn(x_0.shape, generator=rng, device=images.device)
        times = torch.full((len(images),), t, device=images.device)
        x_t = model.add_noise(x_0, times, eps)
        predicted, _ = model.split(x_t, times, model.network(x_t, times))
        error = float((predicted.clamp(*model.x_0_bounds) - x_0).square().mean())
        alpha_bar = float(model.schedule.alpha_bars[t])
        floor = floor_of_x_0(alpha_bar / (1 - alpha_bar), variances)
        ratios.append(math.log(max(error, 1e-12) / floor))
    return math.exp(sum(ratios) / len(ratios))
