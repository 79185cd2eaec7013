"""How other data are divided."""

import torch

from diffusevae.latents.autoencoders.other_data import divide
from diffusevae.latents.autoencoders.part import Data


def test_other_data_are_divided_without_overlap():
    images = torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1)
    like = Data("toy", images[:40], images[:8], images[:5], torch.arange(5), 0)
    other = divide("other", images, images + 100, like)
    assert len(other.train) == 40 and len(other.validation) == 8 and len(other.test) == 5
    assert not set(other.train.flatten().tolist()) & set(other.validation.flatten().tolist())
    few = divide("other", images[:20], images, like)
    assert len(few.train) == 12
