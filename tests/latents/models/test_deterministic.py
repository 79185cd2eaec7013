"""The deterministic autoencoder that the beta-VAE is compared with."""

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.latents.models.deterministic import AutoencoderConfig, ConvolutionalAutoencoder


def test_the_autoencoder_pools_32_pixels_down_to_256_numbers():
    model = ConvolutionalAutoencoder(AutoencoderConfig(32, (16, 32)), (1, 32, 32))
    assert model.encoder[-1].in_features == 256
    assert model.decode(model.encode(torch.rand(2, 1, 32, 32))).shape == (2, 1, 32, 32)
    with pytest.raises(InputError, match="cannot be halved 3 times"):
        ConvolutionalAutoencoder(AutoencoderConfig(32, (16, 32)), (1, 28, 28))
