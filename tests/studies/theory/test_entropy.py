"""The entropy of a step back against joint Gaussians, and its bounds where all is known."""

import math

import numpy as np
import pytest
import torch

from diffusevae.models.schedule import make_schedule
from diffusevae.studies.theory.entropy import (
    bound_above,
    bound_below,
    bound_entropies,
    choose_levels,
    entropy_of_errors,
    entropy_of_gaussian,
    measure_errors,
)
from diffusevae.studies.theory.theory_config import TheoryConfig
from tests.support.exact_models import ExactGaussian
from tests.support.toy_models import make_diffusion

SCHEDULES = [make_schedule(name, 40, 1e-3, 0.2) for name in ("linear", "cosine", "flow")]
CONFIG = TheoryConfig(60, 50, 6, 10, 5, 10, 1, 1e-4, 0.25)


def entropy_of(covariance: np.ndarray) -> float:
    """Return the entropy of a Gaussian in nats."""
    return 0.5 * float(np.linalg.slogdet(2 * math.pi * math.e * covariance)[1])


def join(schedule, t: int, covariance: np.ndarray) -> np.ndarray:
    """Return the covariance of (X_0, X_{t-1}, X_t) by the chain's own links."""
    before, last = float(schedule.alpha_bars[t - 1]), 1 - float(schedule.betas[t])
    unit = np.eye(len(covariance))
    middle = before * covariance + (1 - before) * unit
    a, b = before**0.5, last**0.5
    return np.block(
        [
            [covariance, a * covariance, a * b * covariance],
            [a * covariance, middle, b * middle],
            [a * b * covariance, b * middle, last * middle + (1 - last) * unit],
        ]
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t", [1, 7, 38])
def test_entropies_are_those_of_the_joint_gaussian_of_the_chain(schedule, t):
    root = np.random.default_rng(0).normal(size=(3, 3))
    covariance = root @ root.T
    joint = join(schedule, t, covariance)
    first, middle, last = (slice(i, i + 3) for i in (0, 3, 6))
    rows = np.r_[first, last]
    found = {
        "gaussian": entropy_of(joint[3:, 3:]) - entropy_of(joint[last, last]),
        "upper": entropy_of(joint[3:, 3:]) - entropy_of(joint[middle, middle]),
        "lower": entropy_of(joint) - entropy_of(joint[np.ix_(rows, rows)]),
    }
    variances = np.linalg.eigvalsh(covariance)
    assert 3 * entropy_of_gaussian(schedule, t, variances) == pytest.approx(found["gaussian"])
    assert 3 * bound_above(schedule, t) == pytest.approx(found["upper"])
    assert 3 * bound_below(schedule, t) == pytest.approx(found["lower"])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_bounds_hold_at_all_steps_where_the_mean_variance_is_at_most_one(schedule):
    variances = np.array([2.5, 0.4, 0.1, 1e-6])  # one direction varies more than the noise
    for t in range(1, schedule.num_timesteps):
        entropy = entropy_of_gaussian(schedule, t, variances)
        assert bound_below(schedule, t) < entropy < bound_above(schedule, t)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_upper_bound_fails_in_the_last_steps_where_data_vary_more(schedule):
    variances, last = np.array([4.0, 0.5]), schedule.num_timesteps - 1
    broken = [
        t
        for t in range(1, last + 1)
        if entropy_of_gaussian(schedule, t, variances) > bound_above(schedule, t)
    ]
    assert broken == list(range(broken[0], last + 1))


def test_noise_itself_reaches_the_upper_bound_and_a_point_the_lower():
    schedule = SCHEDULES[1]
    for t in (1, 20, 39):
        noise = entropy_of_gaussian(schedule, t, np.ones(5))
        assert noise == pytest.approx(bound_above(schedule, t))
        assert entropy_of_gaussian(schedule, t, np.zeros(5)) == bound_below(schedule, t)


@pytest.mark.parametrize("t", [1, 12, 30])
def test_of_two_points_the_entropy_is_within_all_bounds(t):
    """x_0 is -1 or 1: entropies by integration, and the least error of x_0 by tanh."""
    schedule = make_schedule("linear", 40, 1e-2, 0.2)
    x = np.linspace(-12, 12, 40_001)
    step = x[1] - x[0]

    def density(t: int) -> np.ndarray:
        a, v = float(schedule.alpha_bars[t]) ** 0.5, 1 - float(schedule.alpha_bars[t])
        parts = [np.exp(-((x - a * x_0) ** 2) / 2 / v) for x_0 in (-1, 1)]
        return sum(parts) / 2 / math.sqrt(2 * math.pi * v)

    def entropy(t: int) -> float:
        p = density(t)
        return -float((p * np.log(p + 1e-300)).sum() * step)

    true = bound_above(schedule, t) + entropy(t - 1) - entropy(t)
    a, v = float(schedule.alpha_bars[t]) ** 0.5, 1 - float(schedule.alpha_bars[t])
    least = 1 - float((density(t) * np.tanh(a * x / v) ** 2).sum() * step)
    proven = entropy_of_errors(schedule, t, np.array([least]))
    assert bound_below(schedule, t) < true < proven < bound_above(schedule, t)
    assert proven <= entropy_of_gaussian(schedule, t, np.ones(1))  # E[x^2] = 1


def test_the_levels_are_steps_of_the_chain_and_include_both_ends():
    levels = choose_levels(1000, 24)
    assert levels[0] == 1 and levels[-1] == 999 and levels == sorted(set(levels))
    assert 20 <= len(levels) <= 24 and sum(t <= 100 for t in levels) >= 8
    assert choose_levels(2, 1) == [1]


def test_the_best_network_proves_the_entropy_of_gaussian_images():
    model = make_diffusion("x0", open_ends=False)
    model.unet = ExactGaussian(model.schedule.alpha_bars, mean=0.1, std=0.2)
    rng = torch.Generator().manual_seed(0)
    images = (0.5 + 0.5 * (0.1 + 0.2 * torch.randn(60, 1, 8, 8, generator=rng))).clamp(0, 1)
    errors = measure_errors(model, images, None, 25, seed=0)
    variance, alpha_bar = 0.2**2, float(model.schedule.alpha_bars[25])
    expected = variance / (1 + alpha_bar / (1 - alpha_bar) * variance)
    assert errors.shape == (60,) and errors.mean() == pytest.approx(expected, rel=0.1)
    said: list[str] = []
    table = bound_entropies(
        {"ddpm": (model, None)}, images, np.full(64, variance), CONFIG, 0, said.append
    )
    assert (table["lower"] < table["ddpm"]).all() and (table["ddpm"] < table["upper"]).all()
    width = table["upper"] - table["lower"]
    assert ((table["ddpm"] - table["gaussian"]).abs() / width).max() < 0.02
    assert (table["ddpm_low"] <= table["ddpm"]).all() and "0.040" in said[0]
