"""Which timesteps a sampler stops at."""

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.sampling.timesteps import choose_timesteps, find_level


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_all_steps_are_all_timesteps(spacing):
    assert choose_timesteps(1000, 1000, spacing) == list(range(999, -1, -1))


def test_timesteps_are_evenly_spaced():
    assert choose_timesteps(1000, 5, "trailing") == [999, 799, 599, 399, 199]
    assert choose_timesteps(1000, 5, "leading") == [800, 600, 400, 200, 0]
    assert choose_timesteps(1000, 4, "linspace") == [999, 666, 333, 0]
    assert choose_timesteps(10, 1) == [9]
    with pytest.raises(InputError, match="num_steps 11 is more than the 10 timesteps"):
        choose_timesteps(10, 11)


def test_a_level_is_found_by_its_noise():
    """x_t / a = x_0 + (s / a) eps."""
    alpha_bars = torch.tensor([0.99, 0.8, 0.5, 0.1])
    for t, alpha_bar in enumerate(alpha_bars.tolist()):
        assert find_level(alpha_bars, 1.01 * ((1 - alpha_bar) / alpha_bar) ** 0.5) == t
    assert find_level(alpha_bars, 1e-9) == 0 and find_level(alpha_bars, 1e9) == 3
