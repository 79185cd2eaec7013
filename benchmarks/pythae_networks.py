"""The product's encoder and decoder as pythae wants them: a code is a vector, an answer a mapping.

Import it only where pythae is installed.
"""

from collections.abc import Sequence

from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn


class Encoder(BaseEncoder):
    """Maps x (B x C x H x W in [0,1]) to mu and logvar, each B x D."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> ModelOutput:
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return ModelOutput(embedding=mu.flatten(1), log_covariance=logvar.flatten(1))


class Decoder(BaseDecoder):
    """Maps z (B x D) to the image in [0,1]."""

    def __init__(self, decoder: nn.Module, latent_shape: Sequence[int]) -> None:
        super().__init__()
        self.decoder, self.latent_shape = decoder, tuple(latent_shape)

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.decoder(z.reshape(-1, *self.latent_shape)).sigmoid())
