"""Noise schedules (docs/study.md, section 3): T values each; index t = 0 .. T-1 is step t + 1."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Scheduler = Literal["linear", "cosine", "flow"]
MAX_BETA = 0.999  # the cosine schedule's last beta tends to 1, where 1 / sqrt(alpha) is infinite
COSINE_OFFSET = 0.008


def linear_betas(num_timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """Return T betas evenly spaced from beta_start to beta_end (DDPM, section 4), float64."""
    return torch.linspace(beta_start, beta_end, num_timesteps, dtype=torch.float64)


def cosine_betas(num_timesteps: int) -> Tensor:
    """Return T betas with bar_alpha = cos^2((t/T + s) / (1 + s) pi/2), normalised to 1 at t = 0.

    Improved DDPM, eq. 17, with s = 0.008 and betas clipped at 0.999; float64.
    """
    steps = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    angles = (steps + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2
    alpha_bars = angles.cos() ** 2
    return (1 - alpha_bars[1:] / alpha_bars[:-1]).clamp(max=MAX_BETA)


def flow_betas(num_timesteps: int) -> Tensor:
    """Return T betas of the levels of (1 - u) x_0 + u eps, u = 1/T, 2/T .. 1; float64.

    These are what rectified flow stops at (Liu et al. 2023, eq. 1; noise at u = 1 here), brought to
    length one: bar_alpha = (1 - u)^2 / ((1 - u)^2 + u^2). The last beta is 1: all is noise.
    """
    u = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    alpha_bars = (1 - u) ** 2 / ((1 - u) ** 2 + u**2)
    return 1 - alpha_bars[1:] / alpha_bars[:-1]


def end_in_noise(betas: Tensor) -> Tensor:
    """Return the betas rescaled so that the last bar_alpha is 0 and the first stays as it is.

    Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", algorithm 1.
    """
    roots = (1 - betas).cumprod(0).sqrt()
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    alpha_bars = roots**2
    return torch.cat([1 - alpha_bars[:1], 1 - alpha_bars[1:] / alpha_bars[:-1]])


MOST_SIGNAL = 0.01  # bar_alpha at t = T-1 (SNR -20 dB) up to which x_T passes for noise


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The constants of the forward process, each T float64 values on the CPU.

    alpha_bars is the cumulative product of alpha = 1 - beta.
    """

    betas: Tensor

    @property
    def num_timesteps(self) -> int:
        return len(self.betas)

    @property
    def alpha_bars(self) -> Tensor:
        return (1 - self.betas).cumprod(0)

    @property
    def snr_db(self) -> Tensor:
        """Signal-to-noise ratio bar_alpha / (1 - bar_alpha) in decibels."""
        return 10 * torch.log10(self.alpha_bars / (1 - self.alpha_bars))

    @property
    def terminal_snr(self) -> float:
        """What is left of the image in x_T: bar_alpha / (1 - bar_alpha) at the last step."""
        last = float(self.alpha_bars[-1])
        return last / (1 - last)

    @property
    def warning(self) -> str | None:
        """One line where the last bar_alpha is far from 0: sampling starts from pure noise."""
        last = float(self.alpha_bars[-1])
        if last <= MOST_SIGNAL:
            return None
        return (
            f"warning: the schedule's last alpha_bar is {last:.3g}, so the model never sees "
            "the pure noise that sampling starts from; raise beta_end or num_timesteps"
        )


def make_schedule(
    scheduler_type: Scheduler, num_timesteps: int, beta_start: float, beta_end: float
) -> NoiseSchedule:
    """Return the schedule of that name; linear alone has a use for the two betas."""
    if scheduler_type == "cosine":
        return NoiseSchedule(cosine_betas(num_timesteps))
    if scheduler_type == "flow":
        return NoiseSchedule(flow_betas(num_timesteps))
    return NoiseSchedule(linear_betas(num_timesteps, beta_start, beta_end))
