"""Paths between codes."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.latents.autoencoders.interpolation import (
    InterpolationConfig,
    classify_paths,
    interpolate,
    study_interpolation,
)
from diffusevae.latents.autoencoders.part import Data
from diffusevae.sampling.sampler_config import SamplerConfig

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
