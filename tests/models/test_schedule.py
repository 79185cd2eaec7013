"""Noise schedules against values that follow from their definitions."""

import math

import pytest
import torch

from diffusevae.models.schedule import (
    MAX_BETA,
    NoiseSchedule,
    cosine_betas,
    end_in_noise,
    linear_betas,
    make_schedule,
)


def test_linear_schedule_has_the_papers_ends_and_terminal_alpha_bar():
    schedule = make_schedule("linear", 1000, 1e-4, 0.02)
    assert schedule.betas[0] == pytest.approx(1e-4)
    assert schedule.betas[-1] == pytest.approx(0.02)
    assert float(schedule.alpha_bars[-1]) == pytest.approx(4.04e-5, rel=2e-3)  # docs/study.md, 3


def test_cosine_alpha_bar_follows_the_formula_until_the_clip():
    schedule = make_schedule("cosine", 1000, 1e-4, 0.02)

    def alpha_bar(step: int) -> float:
        return math.cos((step / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (0, 1, 499, 990):
        assert float(schedule.alpha_bars[t]) == pytest.approx(alpha_bar(t + 1) / alpha_bar(0))
    assert float(schedule.betas[-1]) == MAX_BETA


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("num_timesteps", [2, 50, 1000])
def test_constants_are_finite_and_of_length_T(kind, num_timesteps):
    schedule = make_schedule(kind, num_timesteps, 1e-4, 0.02)
    for values in (schedule.betas, schedule.alpha_bars, schedule.snr_db):
        assert values.shape == (num_timesteps,)
        assert values.isfinite().all()
    assert (schedule.snr_db.diff() < 0).all()


def test_the_flow_s_levels_are_even_along_the_straight_line():
    schedule = make_schedule("flow", 4, 1e-4, 0.02)
    # (1 - u)^2 / ((1 - u)^2 + u^2) at u = 1/4, 2/4, 3/4, 1
    torch.testing.assert_close(
        schedule.alpha_bars, torch.tensor([0.9, 0.5, 0.1, 0.0], dtype=torch.float64)
    )
    a, s = schedule.alpha_bars.sqrt(), (1 - schedule.alpha_bars).sqrt()
    torch.testing.assert_close(s / (a + s), torch.tensor([0.25, 0.5, 0.75, 1], dtype=torch.float64))
    assert schedule.betas[-1] == 1 and schedule.warning is None


def test_a_rescaled_schedule_ends_in_noise_alone():
    """By hand: sqrt(bar_alpha) 0.9, 0.7, 0.5 less 0.5, times 0.9 / 0.4, are 0.9, 0.45, 0."""
    roots = torch.tensor([0.9, 0.7, 0.5], dtype=torch.float64)
    betas = torch.cat([1 - roots[:1] ** 2, 1 - (roots[1:] / roots[:-1]) ** 2])
    expected = torch.tensor([1 - 0.81, 0.75, 1.0], dtype=torch.float64)
    torch.testing.assert_close(end_in_noise(betas), expected)
    rescaled = NoiseSchedule(end_in_noise(linear_betas(1000, 1e-4, 0.02)))
    assert rescaled.alpha_bars[-1] == 0 and float(rescaled.snr_db[-1]) == -math.inf
    assert rescaled.alpha_bars[0] == pytest.approx(1 - 1e-4)


@pytest.mark.parametrize(
    ("arguments", "left"),  # of bar_alpha 4.04e-5, 0.079 and 0
    [
        (("linear", 1000, 1e-4, 0.02), 4.04e-5),
        (("linear", 500, 1e-4, 0.01), 0.079 / 0.921),
        (("flow", 50, 1e-4, 0.02), 0),
    ],
)
def test_terminal_snr_is_what_is_left_of_the_image(arguments, left):
    assert make_schedule(*arguments).terminal_snr == pytest.approx(left, rel=1e-2)


def test_iterating_the_chain_gives_the_closed_form():
    betas = linear_betas(20, 1e-3, 0.3)
    mean, variance = 1.0, 0.0
    for beta in betas.tolist():
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
    alpha_bar = float((1 - betas).prod())
    assert mean == pytest.approx(math.sqrt(alpha_bar))
    assert variance == pytest.approx(1 - alpha_bar)


def test_cosine_betas_lie_between_0_and_the_clip():
    betas = cosine_betas(1000)
    assert (betas > 0).all() and (betas <= MAX_BETA).all()
    assert torch.all(betas.diff() >= 0)


@pytest.mark.parametrize(
    ("arguments", "last"),  # the last alpha_bar: docs/study.md, 5, for those that leave much
    [
        (("linear", 500, 1e-4, 0.01), "0.079"),
        (("linear", 750, 1e-4, 0.01), "0.022"),
        (("linear", 1000, 1e-4, 0.02), None),
        (("cosine", 50, 1e-4, 0.02), None),
    ],
)
def test_a_schedule_that_leaves_much_of_the_image_is_warned_about(arguments, last):
    warning = make_schedule(*arguments).warning
    assert (warning is None) if last is None else f"last alpha_bar is {last}" in warning
