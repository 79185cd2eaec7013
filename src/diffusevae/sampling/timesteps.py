"""At which timesteps of the chain a sampler stops."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from diffusevae.core.errors import InputError

Levels = Sequence[tuple[int, float]]  # timesteps with their bar_alpha


def starts_without_noise(sampler: str, num_steps: int, spacing: str) -> bool:
    """Return whether the one step that is taken would be the last of the chain, at t = 0."""
    return num_steps == 1 and spacing != "trailing" and sampler != "ddim_ahead"


def most_steps(sampler: str, num_timesteps: int) -> int:
    """Return in how many steps a sampler can run: ddim_ahead leaves one timestep out."""
    return num_timesteps - (sampler == "ddim_ahead")


def choose_timesteps(num_timesteps: int, num_steps: int, spacing: str = "trailing") -> list[int]:
    """Return num_steps timesteps, highest first, evenly spaced; all T of them are T-1 .. 0.

    "trailing" starts at T-1, where nothing of the image is left, and ends well above 0, where there
    is still noise to take away; "leading" starts below T-1 and ends at 0; "linspace" does both ends
    (Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", table 2).
    Raises InputError where more steps are asked for than the chain has.
    """
    if num_steps > num_timesteps:
        raise InputError(
            f"num_steps {num_steps} is more than the {num_timesteps} timesteps of "
            f"the model; use at most {num_timesteps}"
        )
    steps = range(num_steps)
    if spacing == "trailing":
        return [round(num_timesteps - i * num_timesteps / num_steps) - 1 for i in steps]
    if spacing == "leading":
        return [i * (num_timesteps // num_steps) for i in reversed(steps)]
    return [round(i * (num_timesteps - 1) / max(num_steps - 1, 1)) for i in reversed(steps)]


def choose_stops(sampler: str, num_timesteps: int, num_steps: int, spacing: str) -> list[int]:
    """Return the timesteps of a sampler's steps, of ddim_ahead also that which it looks ahead to.

    heun, which runs the network twice between its stops, makes half as many. Raises InputError
    where the chain has too few.
    """
    if sampler == "heun":
        return choose_timesteps(num_timesteps, num_steps // 2 + 1, spacing)
    left_out = num_timesteps - most_steps(sampler, num_timesteps)
    if left_out and num_steps >= num_timesteps:
        raise InputError(
            f"num_steps {num_steps}: ddim_ahead leaves one of the model's "
            f"{num_timesteps} timesteps out; use at most {num_timesteps - left_out}"
        )
    return choose_timesteps(num_timesteps, num_steps + left_out, spacing)


def find_level(alpha_bars: Tensor, noise: float) -> int:
    """Return the timestep at which x_t / sqrt(bar_alpha_t) has noise of that standard deviation.

    The nearest there is, by the ratio; noise is in the range of diffusion, alpha_bars: T.
    """
    spreads = ((1 - alpha_bars) / alpha_bars.clamp_min(1e-12)).sqrt()
    return int((spreads.log() - math.log(noise)).abs().argmin())


def with_next(levels: Levels) -> Iterator[tuple[int, float, float]]:
    """Yield each timestep with its bar_alpha and that of the next one, which is 1 at the end."""
    following = [*(alpha_bar for _, alpha_bar in levels[1:]), 1.0]
    for (t, alpha_bar), alpha_bar_prev in zip(levels, following, strict=True):
        yield t, alpha_bar, alpha_bar_prev
