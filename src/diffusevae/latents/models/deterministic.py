"""The standard convolutional autoencoder that the beta-VAE is compared with (study.md, B8).

Convolutions with max-pooling down to 16 channels (256 numbers where two convolutions go before, on
32 x 32), a linear layer to the code, and the mirror image with nearest-neighbour upsampling;
trained on the binary cross-entropy. Its code has no prior.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from diffusevae.core.params import Range
from diffusevae.data.dataset import to_unit
from diffusevae.latents.models.autoencoder import fit_pairs
from diffusevae.latents.models.beta_vae import reconstruction_error
from diffusevae.models.layers import check_halving
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.loop import Callbacks, OptimiserConfig

POOLED = 16  # channels before the code


@dataclass(frozen=True)
class AutoencoderConfig:
    """The code's size; the widths of the convolutions before the last, which has 16 channels."""

    latents: Annotated[int, Range(1, 256)]
    channels: tuple[Annotated[int, Range(1, 256)], ...]


class ConvolutionalAutoencoder(nn.Module):
    """Maps x (B x C x H x W in [0, 1]) to a code (B x latents) and back; `shape` is C x H x W."""

    def __init__(self, config: AutoencoderConfig, shape: Sequence[int]) -> None:
        super().__init__()
        check_halving(shape, range(len(config.channels) + 2))
        self.config = config
        widths = [shape[0], *config.channels, POOLED]
        inner = (POOLED, *(length // 2 ** (len(widths) - 1) for length in shape[1:]))
        size = math.prod(inner)
        down: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            down += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(size, config.latents))
        up: list[nn.Module] = [nn.Linear(config.latents, size), nn.Unflatten(1, inner)]
        for before, after in zip(widths[::-1], widths[-2::-1], strict=False):
            up += [nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]
        self.decoder = nn.Sequential(*up)

    def encode(self, x: Tensor) -> Tensor:
        """Return the code, B x latents."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Return images in [0, 1] of codes, B x latents."""
        return torch.sigmoid(self.decoder(z))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the reconstruction of x, B x C x H x W."""
        return self.decoder(self.encoder(x))


def fit_autoencoder(
    config: AutoencoderConfig,
    optimiser: OptimiserConfig,
    train: Tensor,
    validation: Tensor,
    epochs: int,
    seed: int,
    callbacks: Callbacks,
    checkpointer: Checkpointer | None = None,
) -> ConvolutionalAutoencoder:
    """Train on uint8 images N x C x H x W and return the averaged model."""
    torch.manual_seed(seed)  # initial weights
    model = ConvolutionalAutoencoder(config, train.shape[1:]).to(train.device)

    images = {"train": train, "validation": validation}

    def pairs(part: str, indices: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        x = to_unit(images[part][indices])
        return x, x

    return fit_pairs(
        model,
        optimiser,
        epochs,
        seed,
        (len(train), len(validation)),
        pairs,
        lambda logits, x: reconstruction_error(logits, x, "bce"),
        callbacks,
        checkpointer,
    )[0]
