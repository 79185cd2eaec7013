"""What a network can predict of x_t = a x_0 + s eps, with a^2 + s^2 = 1, and what follows from it.

eps; x_0; v = a eps - s x_0 (Salimans and Ho, "Progressive distillation", appendix D); or the flow
eps - x_0 (Liu et al., "Flow straight and fast", eq. 1; Lipman et al., "Flow matching", 4.1).
"""

from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["eps", "v", "x0", "flow"]


def target_of(prediction: Prediction, a: Tensor, s: Tensor, x_0: Tensor, eps: Tensor) -> Tensor:
    """Return what the network should answer; a and s broadcast over images B x C x H x W."""
    if prediction == "eps":
        return eps
    if prediction == "x0":
        return x_0
    if prediction == "flow":
        return eps - x_0
    return a * eps - s * x_0


def split_output(
    prediction: Prediction, a: Tensor, s: Tensor, x_t: Tensor, output: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (x_0, eps) from x_t and the network's answer."""
    if prediction == "eps":
        return (x_t - s * output) / a, output
    if prediction == "x0":
        return output, (x_t - a * output) / s
    if prediction == "flow":
        return (x_t - s * output) / (a + s), (x_t + a * output) / (a + s)
    return a * x_t - s * output, s * x_t + a * output


def min_snr_weights(alpha_bars: Tensor, prediction: Prediction, gamma: float) -> Tensor:
    """Return T weights of the squared error of a prediction: min-SNR (Hang et al. 2023, section 3).

    They make it min(SNR, gamma) times the squared error of the x_0 that follows from the
    prediction, SNR being bar_alpha / (1 - bar_alpha).
    """
    snr = alpha_bars / (1 - alpha_bars)
    return snr.clamp(max=gamma) * _x_0_per_error(alpha_bars, prediction) ** 2


def vlb_weights(alpha_bars: Tensor, prediction: Prediction) -> Tensor:
    """Return T weights that make the loss the variational bound, in nats per dimension (DDPM, 12).

    That is, without its constants and with a Gaussian density as decoder, its mean over t. With the
    posterior's variance each step costs (SNR_(t-1) - SNR_t) / 2 times the squared error of x_0, the
    decoder 1 / (2 beta_1) times.
    """
    snr = alpha_bars / (1 - alpha_bars)
    of_x_0 = torch.cat([1 / (1 - alpha_bars[:1]), snr[:-1] - snr[1:]]) / 2
    return len(alpha_bars) * of_x_0 * _x_0_per_error(alpha_bars, prediction) ** 2


def _x_0_per_error(alpha_bars: Tensor, prediction: Prediction) -> Tensor:
    """Return T errors of the x_0 that follows from a prediction which is wrong by 1."""
    a, s = alpha_bars.sqrt(), (1 - alpha_bars).sqrt()
    return {"x0": a**0, "eps": s / a, "v": s, "flow": s / (a + s)}[prediction]


def find_beyond(x: Tensor, predicted: Tensor, low: float, high: float) -> Tensor:
    """Return where a prediction lies beyond the end of [low, high] at which x is: booleans.

    Such a prediction is no error where ends are open: it is clipped.
    """
    return (x <= low) & (predicted < low) | (x >= high) & (predicted > high)
