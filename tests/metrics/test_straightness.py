"""Straightness of paths that are known."""

import numpy as np
import pytest
import torch

from diffusevae.metrics.straightness import straightness


def test_a_straight_path_at_even_speed_has_none():
    start, end = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    u = [1.0, 0.7, 0.2, 0.0]
    points = torch.stack([v * start + (1 - v) * end for v in u])
    assert straightness(points, u).tolist() == pytest.approx([0, 0, 0], abs=1e-10)


def test_a_detour_counts_by_its_speed():
    """From 0 to 1 in time 1, but first to 2 in half of it: (1 - 4)^2 / 2 + (1 + 2)^2 / 2 = 9."""
    points = torch.tensor([0.0, 2.0, 1.0])[:, None, None]
    assert straightness(points, [1.0, 0.5, 0.0]).tolist() == [9.0]
    late = straightness(points, [1.0, 0.2, 0.0])  # (1 - 2.5)^2 * 0.8 + (1 + 5)^2 * 0.2
    assert late.tolist() == pytest.approx([9.0])


def test_of_a_gaussian_s_flow_it_is_the_integral_by_theory():
    """y = (1 - u) m + r(u) z with r^2 = (1 - u)^2 s^2 + u^2: S = z^2 times that of r alone."""
    mean, std, z = 0.3, 0.5, torch.tensor([[1.0], [2.0]])
    u = np.linspace(1, 0, 401)
    spread = np.sqrt((1 - u) ** 2 * std**2 + u**2)
    points = torch.stack([(1 - v) * mean + r * z for v, r in zip(u, spread, strict=True)])
    fine = np.linspace(0, 1, 100_001)
    slope = (fine - (1 - fine) * std**2) / np.sqrt((1 - fine) ** 2 * std**2 + fine**2)  # dr/du
    expected = np.trapezoid((slope - (1 - std)) ** 2, fine)
    assert straightness(points, u).tolist() == pytest.approx([expected, 4 * expected], rel=1e-3)
