"""The measures of the losses."""

import pytest
import torch

from diffusevae.latents.autoencoders.losses import cross_entropy


def test_the_cross_entropy_by_hand():
    half = torch.full((2, 1, 3, 3), 0.5)
    assert cross_entropy(half, torch.rand(2, 1, 3, 3)).tolist() == pytest.approx(
        [0.6931, 0.6931], abs=1e-4
    )
