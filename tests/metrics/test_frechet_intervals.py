"""Intervals of Fréchet distances by hand; test_coverage.py has how often they hold the truth."""

import numpy as np
import pytest

from diffusevae.metrics.distribution import fit_gaussian
from diffusevae.metrics.frechet_intervals import _influence, frechet_difference, frechet_interval
from tests.support.toy_sets import normal


def test_an_influence_is_the_change_of_the_distance_by_a_little_more_of_an_image():
    """The derivative, by finite differences of the weighted mean and covariance."""
    f, g = normal(40, 3), normal(30, 3, seed=1) @ np.diag([1.0, 2.0, 0.5]) + 0.5
    found = _influence(g, fit_gaussian(g), fit_gaussian(f))
    found = found - found.mean()

    def distance(weights: np.ndarray) -> float:
        weights = weights / weights.sum()
        mean = weights @ g
        cov = (g - mean).T @ ((g - mean) * weights[:, None]) * 30 / 29
        mean_f, cov_f = fit_gaussian(f)
        roots = np.sqrt(np.linalg.eigvals(cov @ cov_f).real)
        return ((mean - mean_f) ** 2).sum() + np.trace(cov + cov_f) - 2 * roots.sum()

    for i in (0, 7):
        step = 1e-5 * np.eye(30)[i]
        slope = (distance(np.ones(30) + step) - distance(np.ones(30) - step)) / 2e-5 * 30
        assert found[i] == pytest.approx(slope, rel=0.06, abs=0.06)  # / 29 and not 30


def test_intervals_shrink_with_the_root_of_the_number():
    few, many = (frechet_interval(normal(n), normal(n, seed=1) + 1) for n in (400, 6400))
    ratio = (few["high"] - few["low"]) / (many["high"] - many["low"])
    assert ratio == pytest.approx(4, rel=0.2)


def test_pairs_narrow_the_interval_of_a_difference():
    reference, base = normal(400, 4), normal(400, 4, seed=1) + 0.5
    paired = frechet_difference(reference, base + 0.05, base)
    other = frechet_difference(reference, base + 0.05, normal(400, 4, seed=2) + 0.5)
    assert paired["high"] - paired["low"] < (other["high"] - other["low"]) / 4
    assert paired["low"] > 0 > other["low"]
    with pytest.raises(ValueError, match="sets of 400 and 300 images are no pairs"):
        frechet_difference(reference, base, base[:300])


def test_parts_add_up():
    reference, a, b = normal(200, 4), normal(200, 4, seed=1) + 1, normal(200, 4, seed=2)
    whole, part = frechet_difference(reference, a), frechet_difference(reference, b)
    change = frechet_difference(reference, a, b)["value"]
    assert whole["value"] == pytest.approx(part["value"] + change)
