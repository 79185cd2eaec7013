"""Detail by its spectrum: what has any, which images lose it, what of it comes back."""

import numpy as np
import pytest
import torch

from diffusevae.studies.theory.detail import (
    correlate,
    detail_of,
    energy,
    measure_detail,
    pick_losses,
    ratio_interval,
)
from tests.support.toy_artifacts import make_images

REAL = make_images(12)
FREQUENCY = 0.25
SMOOTH = (REAL - detail_of(REAL, FREQUENCY)).float()  # without any detail


def test_a_plain_image_has_no_detail_and_a_chessboard_has_nothing_else():
    plain = torch.full((1, 1, 8, 8), 0.7)
    assert float(energy(detail_of(plain, FREQUENCY))) < 1e-20
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    images = board.float().reshape(1, 1, 8, 8)
    left = energy(detail_of(images - images.mean(), FREQUENCY))
    assert float(left) > 0.85 * float((images - images.mean()).square().sum())


def test_detail_and_the_rest_are_orthogonal_and_make_up_the_image():
    whole = REAL.double().square().flatten(1).sum(1)
    parts = energy(detail_of(REAL, FREQUENCY)) + energy(SMOOTH.double())
    assert torch.allclose(parts, whole, rtol=1e-5)
    assert torch.allclose(detail_of(REAL, 0.0).mean((2, 3)), torch.zeros(12, 1).double())


def test_the_images_picked_are_those_that_lose_most():
    x_hat = REAL.clone()
    x_hat[[7, 2]] = SMOOTH[[7, 2]]
    x_hat[5] = (REAL[5] + SMOOTH[5]) / 2
    picked = pick_losses(REAL, x_hat, FREQUENCY, 3).tolist()
    assert set(picked[:2]) == {2, 7} and picked[2] == 5


def measure(refined: torch.Tensor) -> dict[str, float]:
    table = measure_detail(REAL, SMOOTH, refined, FREQUENCY, 0, 50, lambda said: None)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    return dict(zip(table["quantity"], table["value"], strict=True))


def test_a_perfect_refinement_brings_all_back_and_right():
    found = measure(REAL)
    assert found["vae_energy"] == pytest.approx(0, abs=1e-6)
    assert found["brought_back"] == pytest.approx(1) == found["added_right"]
    assert found["diffusevae_right"] == pytest.approx(1)


def test_no_refinement_brings_nothing_back():
    found = measure(SMOOTH)
    assert found["brought_back"] == 0 == found["added_right"]


def test_as_much_detail_as_there_was_can_be_the_wrong_one():
    other = (SMOOTH + detail_of(REAL.roll(1, 0), FREQUENCY)).float()
    found = measure(other)
    assert found["brought_back"] == pytest.approx(1, abs=1e-4)
    assert abs(found["added_right"]) < 0.1 and abs(found["diffusevae_right"]) < 0.1


def test_a_correlation_of_opposites_is_minus_one_and_of_nothing_none():
    detail = detail_of(REAL, FREQUENCY)
    assert torch.allclose(correlate(detail, -2 * detail), -torch.ones(12).double())
    assert torch.equal(correlate(detail, 0 * detail), torch.zeros(12).double())


def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says():
    """The truth is 0.5; of 200 samples the interval misses about one in twenty."""
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        below = rng.gamma(2, 1, 60)
        above = 0.5 * below + rng.normal(0, 0.3, 60)
        found = ratio_interval(above, below, seed, 200)
        held += found["low"] <= 0.5 <= found["high"]
    assert 0.88 <= held / 200 <= 0.99
