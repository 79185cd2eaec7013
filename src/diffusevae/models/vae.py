"""The VAE of stage 1 (docs/study.md, section 2): a convolutional encoder and its mirror image.

Two other first stages have the same networks: the code of a VQ-VAE is an index into a codebook at
each place, that of a regularised autoencoder (RAE) has no noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor, nn

from diffusevae.core.device import autocast
from diffusevae.core.errors import InputError
from diffusevae.core.params import Range, Share, build, leave_out_defaults, override
from diffusevae.core.tensor_file import freeze, load_config, of_one_model, save_tensors
from diffusevae.data.dataset import in_batches, to_unit
from diffusevae.models.codebook import Codebook
from diffusevae.models.layers import (
    Downsample,
    ResidualBlock,
    SelfAttention,
    Upsample,
    check_halving,
    check_widths,
    zero_init,
)
from diffusevae.models.normalisation import group_norm

Reconstruction = Literal["mse", "bce", "l1"]
Kind = Literal["gaussian", "vq", "rae"]
LOGVAR_RANGE = (-30.0, 20.0)


@dataclass(frozen=True)
class VAEConfig:
    """Architecture and loss of the VAE; one level per entry of channel_multipliers.

    kind: "gaussian" is the beta-VAE; "vq" has a codebook of codebook_size entries, its encoder
    being drawn to them with the weight commitment (van den Oord et al. 2017, eq. 3); "rae" knows
    no noise (Ghosh et al. 2020, eq. 5): kl_weight is that of ||z||^2 / 2, decoder_penalty that of
    the decoder's squared weights.
    """

    latent_channels: Annotated[int, Range(1, 1024)]
    base_channels: Annotated[int, Range(1, 1024)]
    channel_multipliers: tuple[Annotated[int, Range(1, 64)], ...]
    attention_levels: tuple[Annotated[int, Range(0, 16)], ...]
    dropout: Share
    reconstruction: Reconstruction
    kl_weight: Annotated[float, Range(0, 1000)]
    kind: Kind = "gaussian"
    codebook_size: Annotated[int, Range(2, 65_536)] = 256
    commitment: Annotated[float, Range(0, 1000)] = 0.25
    decoder_penalty: Annotated[float, Range(0, 1000)] = 1e-7

    def __post_init__(self) -> None:
        check_widths(self.base_channels, self.channel_multipliers)
        levels = len(self.channel_multipliers)
        if any(level >= levels for level in self.attention_levels):
            raise ValueError(
                f"attention_levels {list(self.attention_levels)} go beyond "
                f"level {levels - 1}; levels count from 0"
            )


def size_vae(
    vae: VAEConfig,
    code: Sequence[int],
    image_size: int,
    channel_multipliers: Sequence[int],
    kl_weight: float,
    place: str,
) -> VAEConfig:
    """Return a configuration whose code (Cz x h x w) is that, of images image_size x image_size.

    It has as many levels of `channel_multipliers` as it takes to come down to h x w. Raises
    InputError, naming the params section `place`, where no number of halvings leads there.
    """
    levels = len(channel_multipliers)
    fitting = [n for n in range(levels) if code[1] * 2**n == image_size]
    if not fitting:
        raise InputError(
            f"{place}.codes: {list(code)}: images of {image_size} x {image_size} do "
            f"not come down to {code[1]} x {code[1]} in the {levels - 1} halvings that "
            f"{place}.channel_multipliers allow; change one of them"
        )
    values = {
        "latent_channels": code[0],
        "channel_multipliers": channel_multipliers[: fitting[0] + 1],
        "kl_weight": kl_weight,
    }
    return override(vae, values, place)


class Encoder(nn.Module):
    """Maps x (B x C x H x W in [0,1]) to 2 Cz channels of mu and logvar (B x 2Cz x h x w).

    Where the code has no variance, to the Cz channels of z alone.
    """

    def __init__(self, config: VAEConfig, image_channels: int) -> None:
        super().__init__()
        widths = [config.base_channels * m for m in config.channel_multipliers]
        channels = widths[0]
        layers: list[nn.Module] = [nn.Conv2d(image_channels, channels, 3, padding=1)]
        for level, width in enumerate(widths):
            layers.append(ResidualBlock(channels, width, config.dropout))
            channels = width
            if level in config.attention_levels:
                layers.append(SelfAttention(channels))
            if level < len(widths) - 1:
                layers.append(Downsample(channels))
        layers += _middle(channels, config.dropout)
        parts = 2 if config.kind == "gaussian" else 1
        layers += [
            group_norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, parts * config.latent_channels, 3, padding=1),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        with autocast(x.device):
            return self.layers(x).float()


class Decoder(nn.Module):
    """Maps z (B x Cz x h x w) to the image before the sigmoid (B x C x H x W); zero at first."""

    def __init__(self, config: VAEConfig, image_channels: int) -> None:
        super().__init__()
        widths = [config.base_channels * m for m in config.channel_multipliers]
        channels = widths[-1]
        layers: list[nn.Module] = [nn.Conv2d(config.latent_channels, channels, 3, padding=1)]
        layers += _middle(channels, config.dropout)
        for level in reversed(range(len(widths))):
            layers.append(ResidualBlock(channels, widths[level], config.dropout))
            channels = widths[level]
            if level in config.attention_levels:
                layers.append(SelfAttention(channels))
            if level > 0:
                layers.append(Upsample(channels, channels))
        last = zero_init(nn.Conv2d(channels, image_channels, 3, padding=1))
        self.layers = nn.Sequential(*layers, group_norm(channels), nn.SiLU(), last)

    def forward(self, z: Tensor) -> Tensor:
        with autocast(z.device):
            return self.layers(z).float()


def _middle(channels: int, dropout: float) -> list[nn.Module]:
    return [
        ResidualBlock(channels, channels, dropout),
        SelfAttention(channels),
        ResidualBlock(channels, channels, dropout),
    ]


class VAE(nn.Module):
    """q(z|x) = N(mu, exp(logvar)) and p(x|z), with the standard normal as prior over z.

    A code without noise is the mean of one with next to none. That of a VQ-VAE is what the encoder
    says; `decode` takes the nearest entries of the codebook, so any density over codes serves.

    `image_shape` is C x H x W. Raises InputError for an image that cannot be halved as often as
    the configuration asks.
    """

    def __init__(self, config: VAEConfig, image_shape: Sequence[int]) -> None:
        super().__init__()
        check_halving(image_shape, config.channel_multipliers)
        self.config = config
        self.image_shape = tuple(image_shape)
        self.encoder = Encoder(config, image_shape[0])
        self.decoder = Decoder(config, image_shape[0])
        vq = config.kind == "vq"
        self.codebook = Codebook(config.codebook_size, config.latent_channels) if vq else None

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Cz x h x w with h = H / 2^(levels - 1)."""
        halvings = len(self.config.channel_multipliers) - 1
        return self.config.latent_channels, *(s // 2**halvings for s in self.image_shape[1:])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar, each B x Cz x h x w, of x in [0,1]; logvar lies in [-30, 20]."""
        if self.config.kind != "gaussian":
            z = self.encoder(x)
            return z, torch.full_like(z, LOGVAR_RANGE[0])
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar.clamp(*LOGVAR_RANGE)

    def decode(self, z: Tensor) -> Tensor:
        """Return the image in [0,1], B x C x H x W, of z (B x Cz x h x w)."""
        return torch.sigmoid(
            self.decoder(z if self.codebook is None else self.codebook.quantise(z))
        )

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return x_hat = decode(mu(x)) in [0,1]: the mean of the code, so it is not random."""
        return self.decode(self.encode(x)[0])

    def sample_prior(self, num_images: int, rng: Generator) -> Tensor:
        """Return images decoded from z ~ N(0, I), drawn where `rng` is."""
        z = torch.randn(num_images, *self.latent_shape, generator=rng, device=rng.device)
        return self.decode(z.to(next(self.parameters()).device))


@torch.inference_mode()
def reconstruct_all(vae: VAE, images: Tensor) -> Tensor:
    """Return x_hat of images, uint8 or in [0,1]: N x C x H x W float32 in [0,1], VAE's device."""
    device = next(vae.parameters()).device
    parts = (part.to(device) for part in in_batches(images))
    return torch.cat(
        [vae.reconstruct(to_unit(part) if part.dtype == torch.uint8 else part) for part in parts]
    )


@torch.inference_mode()
def encode_all(vae: VAE, images: Tensor) -> Tensor:
    """Return mu of uint8 images, N x Cz x h x w, on the CPU."""
    return torch.cat([vae.encode(to_unit(part))[0].cpu() for part in in_batches(images)])


def save_vae(path: Path, vae: VAE) -> None:
    """Write the weights with everything needed to load them again."""
    config = {"image_shape": vae.image_shape, "vae": leave_out_defaults(vae.config)}
    save_tensors(path, vae.state_dict(), config)


@of_one_model
def load_vae(path: Path, device: torch.device | str = "cpu") -> VAE:
    """Return the frozen VAE of a checkpoint: eval mode, no gradients. Raises InputError."""
    config = load_config(path)
    vae = VAE(build(VAEConfig, config["vae"], str(path)), config["image_shape"])
    return freeze(vae, path, device)
