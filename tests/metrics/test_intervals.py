"""Intervals by hand and at the edges; test_coverage.py has how often they hold the truth."""

import numpy as np
import pytest
import torch

from diffusevae.metrics.distribution import find_covered_by_parts, frechet_distance, kid
from diffusevae.metrics.frechet_intervals import (
    _measure_growth,
    frechet_difference,
    frechet_interval,
)
from diffusevae.metrics.intervals import (
    Z_95,
    _measure_kernel,
    count_needed,
    kid_interval,
    precision_recall_interval,
    solve_interval,
)
from tests.support.toy_sets import find_covered, normal


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


@pytest.mark.parametrize("growth", [1.0, 1.7])
def test_a_bound_is_1_96_deviations_off_by_the_variance_that_holds_there(growth):
    value, bias, first, second = 0.5, 0.1, 0.02, 0.003
    low, high = solve_interval(value, bias, first, second, growth)
    variances = (
        second + first / value * (low - bias),
        second + first / value * (value - bias + growth * (high - value)),
    )
    assert value - low == pytest.approx(Z_95 * np.sqrt(variances[0]))
    assert high - value == pytest.approx(Z_95 * np.sqrt(variances[1]))
    for nothing in (bias, bias / 2):  # the variance of sets that do not differ, or more
        low, high = solve_interval(nothing, bias, first, second, growth)
        assert nothing - low == pytest.approx(Z_95 * np.sqrt(second))
        assert high - nothing >= Z_95 * np.sqrt(second)


@pytest.mark.parametrize("shift", [-20, 0.5, 20])
def test_the_variance_of_a_distance_grows_with_it_as_by_hand(shift):
    """Both spreads are 1: the distance is shift^2, its variance that of 2 shift (x - y) / N.

    Moved by d along the influences, the shift grows by 2 d (relative growth 1), the variance of
    one set by its third moment, 2 d (shift / 4), and the spreads' difference joins in (1 / 4).
    """
    f, g = _skewed_and_even(20_000)
    assert _measure_growth(f + shift, g) == pytest.approx(1 + shift / 4 + 1 / 4, rel=0.02)


def test_a_distance_has_room_above_where_images_far_out_made_its_variance():
    f, g = _skewed_and_even(200)
    for shift, growth in ((-20, 1), (20, 6.25)):
        found = frechet_interval(f + shift, g)
        low, high = solve_interval(400, 0, 8 * 400 / 200, 0, growth)
        reach = found["value"] - found["low"], found["high"] - found["value"]
        assert reach == pytest.approx((400 - low, high - 400), rel=0.02)


def _skewed_and_even(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of one feature, both of mean 0 and spread 1: exponential and uniform."""
    steps = (np.arange(count) + 0.5) / count
    found = [(x - x.mean()) / x.std() for x in (-np.log1p(-steps), steps)]
    return found[0][:, None], found[1][:, None]


def test_the_kernel_is_measured_block_by_block_as_at_once(monkeypatch):
    f, g = normal(30, 3), normal(20, 3, seed=1)
    kernel = (f @ g.T / 3 + 1) ** 3
    means_f, means_g = kernel.mean(1), kernel.mean(0)
    rest = kernel - means_f[:, None] - means_g + kernel.mean()
    a, b = normal(30, 1)[:, 0], normal(20, 1)[:, 0]
    monkeypatch.setattr("diffusevae.metrics.distribution.CHUNK", 7)
    found = _measure_kernel(f, means_f, a, g, means_g, b)
    assert found == pytest.approx(((rest**2).mean(), a @ rest @ b))


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


@pytest.mark.parametrize("measure", [kid_interval, precision_recall_interval])
def test_features_on_a_gpu_are_compared_there_with_the_same_result(measure, monkeypatch):
    """Tensors take that way on any device; several blocks of rows, the last one smaller."""
    monkeypatch.setattr("diffusevae.metrics.distribution.CHUNK", 70)
    f, g = normal(150), 1.1 * normal(170, seed=1)
    there, here = measure(torch.from_numpy(f), torch.from_numpy(g)), measure(f, g)
    for found, expected in zip(there.values(), here.values(), strict=True):
        assert found == pytest.approx(expected, rel=1e-9)


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
