"""Paths through codes, codes drawn at random, the two-number grid, and losses, by hand."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import norm

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.latents.autoencoders.holes import BOX, GAUSSIAN, STANDARD, draw_codes
from diffusevae.latents.autoencoders.interpolation import (
    InterpolationConfig,
    classify_paths,
    interpolate,
    study_interpolation,
)
from diffusevae.latents.autoencoders.losses import cross_entropy
from diffusevae.latents.autoencoders.manifold import grid_codes
from diffusevae.latents.autoencoders.other_data import divide
from diffusevae.latents.autoencoders.part import Data
from diffusevae.sampling.samplers import SamplerConfig

SAMPLER = SamplerConfig("ddim", 2, "trailing", 0.0, "posterior", True, 0.0, 1.0, True, 8)


def test_a_path_is_straight_and_has_both_ends():
    path = interpolate(torch.zeros(2, 3), torch.tensor([[4.0, 8, 0], [0, 0, 1]]), 5)
    assert path.shape == (2, 5, 3)
    assert path[0, :, 0].tolist() == [0, 1, 2, 3, 4] and path[0, 1].tolist() == [1, 2, 0]
    assert path[1, 4].tolist() == [0, 0, 1]


def test_probabilities_stay_with_their_pair_and_step():
    class Brightness(torch.nn.Linear):
        def forward(self, x):
            level = x.flatten(1).mean(1, keepdim=True)
            return torch.cat([level, -level], dim=1)

    images = torch.rand(2, 3, 1, 4, 4)
    chances = classify_paths(Brightness(1, 1), images)
    level = images.double().mean((2, 3, 4))
    assert torch.allclose(chances[..., 0], torch.sigmoid(2 * level), atol=1e-6)
    assert torch.allclose(chances.sum(2), torch.ones(2, 3).double(), atol=1e-6)


def test_paths_need_enough_pairs_and_one_noise_for_all():
    images = torch.zeros(4, 1, 4, 4, dtype=torch.uint8)
    data = Data("toy", images, images, images, torch.tensor([3, 3, 5, 1]), 0)
    with pytest.raises(InputError, match="num_pairs 2: there are only 1 test images of class 5"):
        study_interpolation(InterpolationConfig(2, 3, SAMPLER), SimpleNamespace(), None, data)
    with pytest.raises(ValueError, match="shared_noise: false"):
        InterpolationConfig(2, 3, dataclasses.replace(SAMPLER, shared_noise=False))


def test_codes_are_drawn_with_the_spread_that_was_asked_for():
    rng = generator(0)
    mix = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0]])
    codes = torch.randn(4000, 2, generator=rng) @ mix + torch.tensor([5.0, -1, 3])
    fitted = draw_codes(codes, GAUSSIAN, 40_000, rng)
    assert torch.allclose(torch.cov(fitted.T), torch.cov(codes.T), atol=0.15)
    assert torch.allclose(fitted.mean(0), codes.mean(0), atol=0.05)
    assert float(fitted[:, 2].std()) < 1e-3  # a number that never varies
    box = draw_codes(codes, BOX, 40_000, rng)
    assert (box >= codes.amin(0)).all() and (box <= codes.amax(0)).all()
    assert torch.allclose(box.mean(0), (codes.amin(0) + codes.amax(0)) / 2, atol=0.1)
    standard = draw_codes(codes, STANDARD, 40_000, rng)
    assert torch.allclose(torch.cov(standard.T), torch.eye(3), atol=0.05)


def test_the_grid_is_even_in_probability_and_stands_upright():
    grid = grid_codes(5)
    expected = torch.tensor(norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])).float()
    assert torch.allclose(grid[:5, 0], expected, atol=1e-6)  # to the right
    assert torch.allclose(grid[::5, 1], expected.flip(0), atol=1e-6)  # the top row is the largest


def test_the_cross_entropy_by_hand():
    half = torch.full((2, 1, 3, 3), 0.5)
    assert cross_entropy(half, torch.rand(2, 1, 3, 3)).tolist() == pytest.approx(
        [0.6931, 0.6931], abs=1e-4
    )


def test_other_data_are_divided_without_overlap():
    images = torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1)
    like = Data("toy", images[:40], images[:8], images[:5], torch.arange(5), 0)
    other = divide("other", images, images + 100, like)
    assert len(other.train) == 40 and len(other.validation) == 8 and len(other.test) == 5
    assert not set(other.train.flatten().tolist()) & set(other.validation.flatten().tolist())
    few = divide("other", images[:20], images, like)
    assert len(few.train) == 12
