"""Intervals by hand and at the edges; test_coverage.py has how often they hold the truth."""

import numpy as np
import pytest

from diffusevae.metrics.distribution import (
    find_covered,
    find_covered_by_parts,
    fit_gaussian,
    frechet_distance,
    kid,
)
from diffusevae.metrics.intervals import (
    Z_95,
    _influence,
    _measure_kernel,
    _solve_interval,
    count_needed,
    frechet_difference,
    frechet_interval,
    kid_interval,
    precision_recall_interval,
)


def normal(number: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(number, dim))


@pytest.mark.parametrize("measure", [frechet_interval, kid_interval])
def test_intervals_repeat_and_tell_sets_apart(measure):
    real = normal(300)
    same, other = (measure(real, normal(300, seed=1) + shift) for shift in (0, 0.5))
    assert same == measure(real, normal(300, seed=1))
    assert same["low"] <= same["value"] <= same["high"] < other["low"]


def test_the_values_are_those_of_the_distances():
    f, g = normal(60), normal(50, seed=1) + 0.3
    assert frechet_interval(f, g)["value"] == frechet_distance(f, g)
    assert kid_interval(f, g)["value"] == pytest.approx(kid(f, g))


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


@pytest.mark.parametrize("growth", [1.0, 1.7])
def test_a_bound_is_1_96_deviations_off_by_the_variance_that_holds_there(growth):
    value, bias, first, second = 0.5, 0.1, 0.02, 0.003
    low, high = _solve_interval(value, bias, first, second, growth)
    variances = (
        second + first / value * (low - bias),
        second + first / value * (value - bias + growth * (high - value)),
    )
    assert value - low == pytest.approx(Z_95 * np.sqrt(variances[0]))
    assert high - value == pytest.approx(Z_95 * np.sqrt(variances[1]))
    for nothing in (bias, bias / 2):  # the variance of sets that do not differ, or more
        low, high = _solve_interval(nothing, bias, first, second, growth)
        assert nothing - low == pytest.approx(Z_95 * np.sqrt(second))
        assert high - nothing >= Z_95 * np.sqrt(second)


def test_the_kernel_is_measured_block_by_block_as_at_once(monkeypatch):
    f, g = normal(30, 3), normal(20, 3, seed=1)
    kernel = (f @ g.T / 3 + 1) ** 3
    means_f, means_g = kernel.mean(1), kernel.mean(0)
    rest = kernel - means_f[:, None] - means_g + kernel.mean()
    a, b = normal(30, 1)[:, 0], normal(20, 1)[:, 0]
    monkeypatch.setattr("diffusevae.metrics.distribution.CHUNK", 7)
    found = _measure_kernel(f, means_f, a, g, means_g, b)
    assert found == pytest.approx(((rest**2).mean(), a @ rest @ b))


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


@pytest.mark.parametrize("number", [4, 8, 20])
def test_few_images_dead_features_and_equal_sets_give_finite_intervals(number):
    f, g = normal(number, 12), normal(number, 12, seed=1)
    f[:, :4], g[:, 2:6] = 0, 1
    for found in (
        frechet_interval(f, g),
        kid_interval(f, g),
        frechet_difference(f, g, g),
        frechet_difference(f, g),
        frechet_interval(f, f),
        kid_interval(f, f),
        frechet_interval(0 * f, 0 * f),
    ):
        assert np.isfinite(list(found.values())).all()
        assert found["low"] <= found["value"] <= found["high"]
    assert frechet_difference(f, g, g) == {"value": 0, "low": 0, "high": 0}


def test_shares_of_none_and_all_have_the_interval_of_so_many_images():
    far = precision_recall_interval(normal(100), normal(400, seed=1) + 100)
    assert far["precision"]["low"] == far["precision"]["value"] == 0
    assert far["precision"]["high"] == pytest.approx(1.96**2 / (400 + 1.96**2), rel=1e-3)
    assert 0.03 < far["recall"]["high"] < 0.04
    same = precision_recall_interval(normal(50), normal(50))
    assert same["recall"]["value"] == same["recall"]["high"] == 1


@pytest.mark.parametrize("number", [9, 300])  # all centres are looked at, and only the nearest
def test_parts_of_the_centres_cover_what_they_cover_alone(number, monkeypatch):
    images, centres = normal(80, 4), normal(number, 4, seed=1)
    centres[1] = centres[0]
    draw = np.random.default_rng(2)
    parts = np.array([draw.permutation(number) < (number + 1) // 2 for _ in range(3)])
    monkeypatch.setattr("diffusevae.metrics.distribution.CHUNK", 70)
    for part, found in zip(parts, find_covered_by_parts(images, centres, 3, parts), strict=True):
        np.testing.assert_array_equal(found[0], find_covered(images, centres[part], 3))
        np.testing.assert_array_equal(found[1], find_covered(images, centres[~part], 3))


def test_a_small_judging_set_widens_the_interval_of_a_share():
    generated = normal(400, seed=1) * 1.5
    found = [precision_recall_interval(normal(n), generated)["precision"] for n in (100, 3000)]
    for each, own in zip(found, (2, 1.5), strict=True):
        p = each["value"]
        width = (each["high"] - each["low"]) / (2 * 1.96 * np.sqrt(p * (1 - p) / 400))
        assert width > 1.2 if own == 2 else width < own


@pytest.mark.parametrize(
    ("measure", "few"), [(frechet_interval, 3), (kid_interval, 3), (precision_recall_interval, 7)]
)
def test_sets_too_small_are_refused(measure, few):
    assert count_needed(3) == 8
    with pytest.raises(ValueError, match=f"sets of 50 and {few} images"):
        measure(normal(50), normal(few))
