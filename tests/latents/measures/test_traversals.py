"""Traversals, and the effects of models that were built to have them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from diffusevae.core.errors import InputError
from diffusevae.latents.measures.traversals import (
    entanglement,
    largest_step,
    measure_effects,
    name_meaning,
    traverse,
)
from tests.support.bars import bar


class BarModel:
    """Decodes (left edge, thickness) of an upright bar; a third latent does nothing."""

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return torch.cat([bar(4, 10 + round(float(a)), 24, 4 + round(float(b))) for a, b, _ in z])


class Half(nn.Module):
    """Says which half of the image has more ink."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[..., :16].sum((1, 2, 3)), x[..., 16:].sum((1, 2, 3))], 1)


def test_a_traversal_moves_one_latent_evenly_and_leaves_the_others():
    codes = torch.tensor([[1.0, 2.0, 0.0]])
    path = traverse(BarModel(), codes, 1, 7)
    assert path.shape == (1, 7, 1, 32, 32)
    assert [float(image.sum()) for image in path[0]] == [24.0 * (4 + b) for b in range(-3, 4)]
    assert codes.tolist() == [[1.0, 2.0, 0.0]]
    wider = traverse(BarModel(), codes, 0, 3, centre=1.0, scale=2.0)[0]
    assert [int(image.nonzero()[0, -1]) for image in wider] == [10 - 5, 10 + 1, 10 + 7]


def test_a_latent_out_of_range_is_one_clear_line():
    with pytest.raises(InputError, match="latent 3: the code has the latents 0 to 2"):
        traverse(BarModel(), torch.zeros(1, 3), 3, 5)


def test_the_largest_step_of_an_even_path_is_its_mean():
    even = torch.arange(5.0).view(1, 5, 1, 1, 1)
    jump = torch.tensor([0.0, 0, 0, 0, 1]).view(1, 5, 1, 1, 1)
    still = torch.zeros(1, 5, 1, 1, 1)
    assert largest_step(torch.cat([even, jump, still])).tolist() == [1, 4, 1]


def test_effects_are_what_the_model_was_built_to_do():
    spread = {"thickness": 1.0, "slant": 1.0, "width": 2.0, "area": 24.0}
    codes = torch.zeros(2, 3)
    codes[:, 0] = 1
    thicker = measure_effects(traverse(BarModel(), codes, 1, 7), Half(), spread)
    assert thicker["area"].tolist() == [6.0, 6.0]  # from 1 to 7 columns of 24 pixels, per 24
    assert thicker["width"] == pytest.approx([math.sqrt(48) / 2] * 2)
    assert thicker["slant"] == pytest.approx([0, 0])
    assert thicker["jump"] == pytest.approx([1, 1])  # a column more at every step
    moved = measure_effects(traverse(BarModel(), codes, 0, 7, 4.0, 1.0), Half(), spread)
    assert moved["class"].tolist() == [1.0, 1.0]  # it crosses the middle
    assert moved["area"].tolist() == [0.0, 0.0]
    nothing = measure_effects(traverse(BarModel(), codes, 2, 7), Half(), spread)
    assert nothing["class"].tolist() == nothing["pixels"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("effects", "kl", "meaning"),
    [
        ({"slant": 2.0, "width": 0.5}, 1.0, "slant"),
        ({"slant": -1.0, "width": 0.6}, 1.0, "slant, width"),
        ({"area": 0.1}, 1.0, "detail"),
        ({"area": 5.0}, 0.01, "unused"),
        ({"thickness": 0.4, "class": 0.8}, 1.0, "thickness, class"),
    ],
)
def test_meanings(effects, kl, meaning):
    card = {
        f"effect_{name}": effects.get(name, 0.0)
        for name in ("thickness", "slant", "width", "area", "class")
    }
    assert name_meaning(card | {"kl": kl}) == meaning


def test_entanglement_of_independent_equal_and_constant_codes():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4000))
    assert entanglement(np.stack([a, b], 1)) < 0.05
    assert entanglement(np.stack([a, -a], 1)) == pytest.approx(1)
    assert entanglement(np.stack([a, 0 * a], 1)) == 0
