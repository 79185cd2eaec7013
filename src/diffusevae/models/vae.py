"""The VAE of stage 1 (docs/study.md, section 2): a convolutional encoder and its mirror image.

Two other first stages have the same networks: the code of a VQ-VAE is an index into a codebook at
each place, that of a regularised autoencoder (RAE) has no noise.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from diffusevae.core.device import autocast
from diffusevae.core.params import build, leave_out_defaults
from diffusevae.core.tensor_file import freeze, load_config, of_one_model, save_tensors
from diffusevae.data.dataset import in_batches, to_unit
from diffusevae.models.codebook import Codebook
from diffusevae.models.layers import (
    Downsample,
    ResidualBlock,
    SelfAttention,
    Upsample,
    check_halving,
    zero_init,
)
from diffusevae.models.normalisation import group_norm
from diffusevae.models.vae_config import VAEConfig

LOGVAR_RANGE = (-30.0, 20.0)


class Encoder(nn.Module):
    """Maps x (B x C x H x W in [0,1]) to 2 Cz channels of mu and logvar (B x 2Cz x h x w).

    Where the code has no variance, to the Cz channels of z alone. With num_classes it is told the
    class of x (labels: B), as `_run` says.
    """

    def __init__(self, config: VAEConfig, image_channels: int, num_classes: int = 0) -> None:
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
        self.told = nn.Embedding(num_classes, widths[0]) if num_classes else None

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return _run(self.layers, self.told, x, labels)


class Decoder(nn.Module):
    """Maps z (B x Cz x h x w) to numbers, one per pixel (B x C x H x W), zero at first.

    What they are of the image: `VAE.show`.

    With num_classes it is told the class of the image (labels: B), as `_run` says.
    """

    def __init__(self, config: VAEConfig, image_channels: int, num_classes: int = 0) -> None:
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
        self.told = nn.Embedding(num_classes, widths[-1]) if num_classes else None

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return _run(self.layers, self.told, z, labels)


def _run(
    layers: nn.Sequential, told: nn.Embedding | None, x: Tensor, labels: Tensor | None
) -> Tensor:
    """Return what layers make of x; what is told of a class is added to all that the first makes.

    As if the class were further channels of x, alike at all places (Sohn et al. 2015).
    """
    assert (labels is None) == (told is None), "labels given to the wrong network"
    with autocast(x.device):
        if told is None:
            return layers(x).float()
        return layers[1:](layers[0](x) + told(labels)[:, :, None, None]).float()


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

    `image_shape` is C x H x W. With num_classes it is a conditional VAE, q(z|x,y) and p(x|z,y): all
    that encodes or decodes then takes the classes y of the images (labels: B). Raises InputError
    for an image that cannot be halved as often as the configuration asks.
    """

    def __init__(self, config: VAEConfig, image_shape: Sequence[int], num_classes: int = 0) -> None:
        super().__init__()
        check_halving(image_shape, config.channel_multipliers)
        self.config = config
        self.image_shape = tuple(image_shape)
        self.encoder = Encoder(config, image_shape[0], num_classes)
        self.decoder = Decoder(config, image_shape[0], num_classes)
        vq = config.kind == "vq"
        self.codebook = Codebook(config.codebook_size, config.latent_channels) if vq else None

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Cz x h x w with h = H / 2^(levels - 1)."""
        halvings = len(self.config.channel_multipliers) - 1
        return self.config.latent_channels, *(s // 2**halvings for s in self.image_shape[1:])

    def encode(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mu and logvar, each B x Cz x h x w, of x in [0,1]; logvar lies in [-30, 20]."""
        if self.config.kind != "gaussian":
            z = self.encoder(x, labels)
            return z, torch.full_like(z, LOGVAR_RANGE[0])
        mu, logvar = self.encoder(x, labels).chunk(2, dim=1)
        return mu, logvar.clamp(*LOGVAR_RANGE)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the image in [0,1], B x C x H x W, of z (B x Cz x h x w)."""
        quantised = z if self.codebook is None else self.codebook.quantise(z)
        return self.show(self.decoder(quantised, labels))

    def show(self, numbers: Tensor) -> Tensor:
        """Return the image in [0,1] of the decoder's numbers, B x C x H x W."""
        if self.config.open_ends:
            return before_clipping(numbers).clamp(0, 1)
        return torch.sigmoid(numbers)

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return x_hat = decode(mu(x)) in [0,1]: the mean of the code, so it is not random."""
        return self.decode(self.encode(x, labels)[0], labels)

    def sample_prior(self, num_images: int, rng: Generator) -> Tensor:
        """Return images decoded from z ~ N(0, I), drawn where `rng` is."""
        z = torch.randn(num_images, *self.latent_shape, generator=rng, device=rng.device)
        return self.decode(z.to(next(self.parameters()).device))


def before_clipping(numbers: Tensor) -> Tensor:
    """Return the pixels of a decoder with open ends: the sigmoid's tangent, grey where it is."""
    return 0.5 + numbers / 4


@torch.inference_mode()
def reconstruct_all(vae: VAE, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return x_hat of images, uint8 or in [0,1]: N x C x H x W float32 in [0,1], VAE's device."""
    device = next(vae.parameters()).device
    return torch.cat(
        [
            vae.reconstruct(to_unit(part) if part.dtype == torch.uint8 else part, told)
            for part, told in _in_told_batches(images, labels, device)
        ]
    )


@torch.inference_mode()
def encode_all(vae: VAE, images: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return mu of uint8 images, N x Cz x h x w, on the CPU."""
    return encode_posteriors(vae, images, labels)[0]


@torch.inference_mode()
def encode_posteriors(
    vae: VAE, images: Tensor, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return mu and logvar of uint8 images, each N x Cz x h x w, on the CPU."""
    parts = _in_told_batches(images, labels, images.device)
    encoded = [vae.encode(to_unit(part), told) for part, told in parts]
    mu, logvar = (torch.cat([each.cpu() for each in found]) for found in zip(*encoded, strict=True))
    return mu, logvar


def _in_told_batches(
    images: Tensor, labels: Tensor | None, device: torch.device
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield images in batches with their labels, if there are any, on the device."""
    start = 0
    for part in in_batches(images):
        told = None if labels is None else labels[start : start + len(part)].to(device)
        yield part.to(device), told
        start += len(part)


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
