"""The UNet in its new use."""

import torch

from diffusevae.latents.models.segmenter import Segmenter
from diffusevae.models.unet import UNetConfig


def test_the_unet_sees_images_centred_at_t_0():
    config = UNetConfig(4, (1, 2), 1, (), 2, 8, 0.0, ("in",))
    model = Segmenter(config, (1, 8, 8))
    seen = {}
    model.unet.forward = lambda x, t: seen.update(x=x, t=t)
    model(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8))
    assert seen["t"].tolist() == [0, 0]
    assert seen["x"][:, 0, 0, 0].tolist() == [-1, 1]
