"""The error budget on Gaussians, whose Fréchet distances are known."""

import numpy as np
import pytest

from diffusevae.figures.drawing import figure_style
from diffusevae.studies.frontier.budget import CHAIN, PARTS, split_distance
from diffusevae.studies.frontier.budget_figures import draw_budget

REFERENCE = np.random.default_rng(0).normal(size=(4000, 3))


def make_features(**shifts: float) -> dict[str, np.ndarray]:
    """Return standard normal features, shifted: their distance from the reference is 3 shift^2."""
    noise = np.random.default_rng(1).normal(size=(4000, 3))
    return {name: noise + shift for name, shift in shifts.items()}


@pytest.fixture
def budget():
    features = make_features(
        x_hat=1.0, vae_gmm=3.0, vae_prior=5.0, diffusevae_converged=2.0, diffusevae=2.5
    )
    return split_distance(features, REFERENCE).set_index("part")


def test_parts_are_what_each_step_adds_and_make_up_the_whole(budget):
    expected = [3, 27 - 3, 12 - 27, 18.75 - 12, 18.75, 75 - 3]
    for part, value in zip(PARTS, expected, strict=True):
        assert budget.loc[part, "value"] == pytest.approx(value, rel=0.1)
    assert budget["value"].iloc[: len(CHAIN)].sum() == pytest.approx(budget["value"].iloc[4])


def test_intervals_surround_their_values_and_are_narrow_where_noise_is_shared(budget):
    assert (budget["low"] <= budget["value"]).all() and (budget["value"] <= budget["high"]).all()
    width = budget["high"] - budget["low"]
    assert 0 < width.iloc[0] < 1


def test_sets_that_do_not_differ_have_a_part_of_exactly_zero():
    features = make_features(
        x_hat=1.0, vae_gmm=1.0, vae_prior=2.0, diffusevae_converged=1.0, diffusevae=1.0
    )
    rows = split_distance(features, REFERENCE)
    assert rows.loc[1:3, ["value", "low", "high"]].to_numpy().tolist() == [[0.0] * 3] * 3


def test_a_bar_starts_where_the_one_before_ends(budget):
    with figure_style():
        (axes,) = draw_budget(budget.reset_index()).axes
    bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    assert len(bars) == len(PARTS)
    for before, now in zip(bars[:3], bars[1:4], strict=True):
        assert now[0] == pytest.approx(before[1])
    assert bars[4] == pytest.approx((0, bars[3][1]))
