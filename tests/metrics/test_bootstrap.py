import numpy as np
import pytest

from diffusevae.metrics import bootstrap
from diffusevae.metrics.bootstrap import interval


def width(result: dict[str, float]) -> float:
    return result["high"] - result["low"]


def test_interval_of_a_mean_has_the_width_that_theory_gives():
    values = np.random.default_rng(0).normal(5, 2, 1000)
    result = interval(values, seed=1)
    assert result["value"] == pytest.approx(values.mean())
    assert width(result) == pytest.approx(2 * 1.96 * values.std() / np.sqrt(1000), rel=0.06)
    assert result["low"] < result["value"] < result["high"]


def test_interval_covers_the_true_mean_about_95_times_in_100():
    generator = np.random.default_rng(0)
    results = [interval(generator.exponential(size=100), seed, 400) for seed in range(400)]
    covered = np.mean([result["low"] <= 1 <= result["high"] for result in results])
    assert 0.90 < covered < 0.98


def test_a_seed_gives_one_interval_whatever_the_memory_bound(monkeypatch):
    values = np.random.default_rng(0).random(50)
    result = interval(values, seed=3, num_resamples=101)
    assert result == interval(values, seed=3, num_resamples=101)
    assert result != interval(values, seed=4, num_resamples=101)
    monkeypatch.setattr(bootstrap, "MAX_DRAWS", 7 * 50)
    assert result == interval(values, seed=3, num_resamples=101)


def test_paired_difference_is_narrower_than_its_sides():
    generator = np.random.default_rng(0)
    vae = generator.normal(size=500)
    diffusevae = vae + 0.1 + 0.05 * generator.normal(size=500)
    difference = interval(diffusevae - vae, seed=0)
    assert difference["low"] > 0.08
    assert width(difference) < width(interval(vae, seed=0)) / 5


@pytest.mark.parametrize("values", [[0.1], [0.1] * 7, [True] * 3])
def test_values_that_do_not_vary_have_no_width(values):
    result = interval(values, seed=0)
    assert result["low"] <= result["value"] <= result["high"]
    assert width(result) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")], [[1.0, 2.0]]])
def test_what_is_no_row_of_numbers_is_refused(values):
    with pytest.raises(ValueError):
        interval(values, seed=0)
