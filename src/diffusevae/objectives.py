"""What a search minimises: measures that trials of different settings share, and analytic floors.

The study's own objectives contain what they tune: a validation loss with kl_weight in it is lowest
at the smallest weight, and how small the error of eps can be depends on the schedule (SPEC 10).
"""

import math

import numpy as np
import torch
from torch import Tensor

from diffusevae.diffusion import DiffusionModel
from diffusevae.randomness import generator
from diffusevae.schedule import NoiseSchedule

LEVELS_DB = tuple(range(-20, 21, 5))  # signal-to-noise ratios a^2 / s^2 of x_t = a x_0 + s eps
NUM_IMAGES = 200  # at each level
SMALLEST_VARIANCE = 1e-12


def bound_vae(reconstruction: str, error: float, kl: float, num_values: int) -> float:
    """Return the negative ELBO at beta = 1 in bits per dimension, whatever weight KL had before.

    error is the mean per value of the reconstruction loss named, kl in nats per image, num_values
    C * H * W. The decoder's spread, which squared and absolute errors leave open, is the best one
    for that error (Rybkin et al. 2021, "Simple and effective VAE training with calibrated
    decoders", eq. 6); densities are those of values 0 .. 255.
    """
    if reconstruction == "bce":
        nats = error
    else:
        spread = (0.5 * math.log(2 * math.pi * math.e * error) if reconstruction == "mse"
                  else 1 + math.log(2 * error))  # fmt: skip
        nats = spread + math.log(256)
    return (nats + kl / num_values) / math.log(2)


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

    Taken from the first 10,000 images, from 3,000 where these are fewer than D: the smaller of the
    two matrices with the same eigenvalues is used.
    """
    size = images[0].numel()
    some = images[: 10_000 if size <= 3_000 else 3_000].flatten(1).double().cpu().numpy()
    some = some - some.mean(axis=0)
    products = some.T @ some if size <= len(some) else some @ some.T
    variances = np.full(size, SMALLEST_VARIANCE)
    found = np.linalg.eigvalsh(products / len(some))[::-1]
    variances[: len(found)] = np.maximum(found, SMALLEST_VARIANCE)
    return variances


@torch.inference_mode()
def measure_x_0_error(
    model: DiffusionModel, images: Tensor, variances: np.ndarray, seed: int
) -> float:
    """Return the error of the predicted x_0 as a multiple of a linear denoiser's least one.

    It is taken at the same signal-to-noise ratios for every schedule, each given to the network as
    the nearest timestep it knows, and averaged over them geometrically. images are B x C x H x W in
    [0, 1], variances those of images in the range of diffusion.
    """
    images = images[:NUM_IMAGES]
    x_0 = model.to_diffusion_range(images)
    ratios = []
    for level in LEVELS_DB:
        snr = 10 ** (level / 10)
        a, s = math.sqrt(snr / (1 + snr)), math.sqrt(1 / (1 + snr))
        rng = generator(seed, "level", level, device=images.device)
        x_t = a * x_0 + s * torch.randn(x_0.shape, generator=rng, device=images.device)
        t = int((model.schedule.snr_db - level).abs().argmin())
        times = torch.full((len(images),), t, device=images.device)
        output = model.network(x_t, times, None)
        predicted = _x_0_of(model.config.prediction, x_t, output, a, s).clamp(*model.x_0_bounds)
        error = float((predicted - x_0).square().mean())
        ratios.append(math.log(max(error, 1e-12) / floor_of_x_0(snr, variances)))
    return math.exp(sum(ratios) / len(ratios))


def _x_0_of(prediction: str, x_t: Tensor, output: Tensor, a: float, s: float) -> Tensor:
    if prediction == "eps":
        return (x_t - s * output) / a
    return output if prediction == "x0" else a * x_t - s * output
