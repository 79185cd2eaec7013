import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from diffusevae.metrics.density_coverage import density_coverage_interval, expect_coverage
from tests.support.toy_sets import normal


def measure(real: np.ndarray, generated: np.ndarray, k: int = 3) -> tuple[float, float]:
    found = density_coverage_interval(real, generated, k)
    return found["density"]["value"], found["coverage"]["value"]


def test_density_and_coverage_by_hand():
    # Reaches of the real images at k = 1: 1, 1, 2, 4, 10.
    real = np.array([[0.0], [1.0], [3.0], [7.0], [17.0]])
    # In the balls of 0 and 1; of 1 and 3; of 7 (its rim counts) and 17; of none.
    generated = np.array([[0.5], [1.5], [11.0], [-50.0]])
    assert measure(real, generated, k=1) == (pytest.approx((2 + 2 + 2 + 0) / 4), 1.0)
    # Only the outlier's wide ball is hit, by all of them: each lies in one ball of k = 1.
    outlier = np.array([[20.0], [21.0], [22.0], [23.0]])
    assert measure(real, outlier, k=1) == (1.0, pytest.approx(1 / 5))


def test_both_equal_a_search_by_neighbour_trees():
    real, generated, k = normal(90, 4), 1.2 * normal(70, 4, seed=1), 4
    reaches = cKDTree(real).query(real, k + 1)[0][:, k]  # the nearest is the image itself
    held = [cKDTree(generated).query_ball_point(x, r) for x, r in zip(real, reaches, strict=True)]
    density, coverage = measure(real, generated, k)
    assert density == pytest.approx(sum(map(len, held)) / (k * len(generated)))
    assert coverage == pytest.approx(np.mean([len(each) > 0 for each in held]))
    assert 0 < coverage < 1


def test_sets_of_one_distribution_have_the_means_that_counting_gives():
    """Whatever the distribution: ranks of distances decide, and any order is as likely."""
    values = np.array(
        [measure(normal(30, seed=2 * i), normal(45, seed=2 * i + 1)) for i in range(300)]
    )
    error = 3 * values.std(0) / np.sqrt(len(values))
    assert abs(values[:, 0].mean() - 1) < error[0]
    assert abs(values[:, 1].mean() - expect_coverage(30, 45, 3)) < error[1]


def test_expected_coverage_by_hand():
    # Two real and one generated image: the nearest of the other two is real in half of all cases.
    assert expect_coverage(2, 1, 1) == pytest.approx(1 / 2)
    assert expect_coverage(100_000, 100_000, 3) == pytest.approx(1 - 2**-3, abs=1e-4)


def test_an_outlier_s_wide_ball_fools_precision_and_not_density():
    real = np.concatenate([normal(200), [[40.0] * 8]])
    generated = normal(200, seed=1) + 25  # in nobody's neighbourhood but the outlier's
    density, coverage = measure(real, generated)
    assert density == pytest.approx(1 / 3, abs=0.01)  # all of them in one ball of k = 3
    assert coverage == pytest.approx(1 / 201)


def test_a_dropped_mode_lowers_coverage_alone():
    real = np.concatenate([normal(100), normal(100, seed=1) + 50])
    density, coverage = measure(real, normal(200, seed=2))
    assert density > 0.8
    assert coverage == pytest.approx(0.5, abs=0.05)  # twice as many images as in a half of them


def test_sets_far_away_have_zero_and_the_interval_of_so_many_images():
    far = density_coverage_interval(normal(100), normal(400, seed=1) + 100)
    assert far["density"]["value"] == far["density"]["low"] == 0
    assert far["density"]["high"] == pytest.approx(1.96**2 / (400 + 1.96**2), rel=1e-3)
    assert far["coverage"]["value"] == 0
    assert far["coverage"]["high"] == pytest.approx(1.96**2 / (100 + 1.96**2), rel=1e-3)


@pytest.mark.parametrize("number", [8, 9, 30])
def test_few_images_and_repeated_ones_give_finite_intervals(number):
    f, g = normal(number, 12), normal(number, 12, seed=1)
    for made in (g, f, 0 * f, np.repeat(g[:1], number, axis=0)):
        for real in (f, 0 * f):
            for found in density_coverage_interval(real, made).values():
                assert np.isfinite(list(found.values())).all()
                assert found["low"] <= found["value"] <= found["high"]


def test_features_on_a_gpu_are_compared_there_with_the_same_result(monkeypatch):
    """Tensors take that way on any device; several blocks of rows, the last one smaller."""
    monkeypatch.setattr("diffusevae.metrics.distribution.CHUNK", 70)
    f, g = normal(150), 1.1 * normal(170, seed=1)
    there = density_coverage_interval(torch.from_numpy(f), torch.from_numpy(g))
    for name, expected in density_coverage_interval(f, g).items():
        assert there[name] == pytest.approx(expected, rel=1e-9)


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="at least 8"):
        density_coverage_interval(normal(7), normal(20))
