"""The grid of two-number codes."""

import torch
from scipy.stats import norm

from diffusevae.latents.autoencoders.manifold import grid_codes


def test_the_grid_is_even_in_probability_and_stands_upright():
    grid = grid_codes(5)
    expected = torch.tensor(norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])).float()
    assert torch.allclose(grid[:5, 0], expected, atol=1e-6)  # to the right
    assert torch.allclose(grid[::5, 1], expected.flip(0), atol=1e-6)  # the top row is the largest
