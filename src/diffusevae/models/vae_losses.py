"""What a VAE is trained by: the error of its reconstruction, and KL (docs/study.md, section 2)."""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from diffusevae.models.codebook import perplexity
from diffusevae.models.predictions import find_beyond
from diffusevae.models.vae import VAE, before_clipping
from diffusevae.models.vae_config import Reconstruction

Losses = dict[str, Tensor]
Encoded = tuple[Tensor, Tensor]  # mu and logvar
Price = Callable[[], tuple[Tensor, Losses]]  # what is added to the error, and its parts


def reparameterise(mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """z = mu + exp(logvar / 2) eps (Kingma and Welling, 2014, section 2.4)."""
    return mu + torch.exp(0.5 * logvar) * eps


def kl_of_latents(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu_j, sigma_j^2) || N(0, 1)) in nats of every latent number, in the shape of mu."""
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar)


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)) in nats, summed over the latent numbers: B."""
    return kl_of_latents(mu, logvar).flatten(1).sum(1)


def pixel_error(
    logits: Tensor, x: Tensor, kind: Reconstruction, reduction: Literal["mean", "none"]
) -> Tensor:
    """Return the error of sigmoid(logits) for x in [0,1]: its mean, or that of every pixel."""
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(logits, x, reduction=reduction)
    error = F.l1_loss if kind == "l1" else F.mse_loss
    return error(torch.sigmoid(logits), x, reduction=reduction)


def open_error(y: Tensor, x: Tensor, kind: Reconstruction) -> Tensor:
    """Return the mean error of pixels y, any numbers, for x in [0,1].

    Beyond an end of the range at which the true pixel lies there is none: clipping mends it.
    """
    error = (y - x).masked_fill(find_beyond(x, y, 0, 1), 0)
    return error.abs().mean() if kind == "l1" else error.square().mean()


def draw_noise(vae: VAE, count: int, rng: Generator) -> Tensor:
    """Return what `vae_loss` takes of chance for `count` images, drawn where `rng` is.

    The noise of their codes, count x Cz x h x w; of a VQ-VAE K numbers in [0, 1), one for each
    entry of the codebook.
    """
    if vae.codebook is not None:
        return torch.rand(len(vae.codebook.counts), generator=rng, device=rng.device)
    return torch.randn(count, *vae.latent_shape, generator=rng, device=rng.device)


def vae_loss(vae: VAE, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
    """Return loss = reconstruction + what the code costs, and its parts, for x in [0,1].

    The reconstruction error is the mean over all pixels, times reconstruction_weight in the loss.
    What a Gaussian code costs is kl_weight KL, KL in nats per image being the mean over images; for
    the others see `_commit_code`, `_penalise_code`. Where the error is no mean squared one, mse is
    this: it compares VAEs of any loss. `noise` is that of `draw_noise`; zeros give the loss at z =
    mu. labels (B) are what a conditional VAE is told. In training a codebook follows the encodings.
    """
    code = {"gaussian": _draw_code, "vq": _commit_code, "rae": _penalise_code}[vae.config.kind]
    z, price = code(vae, vae.encode(x, labels), noise)
    numbers = vae.decoder(z, labels)
    kind = vae.config.reconstruction
    reconstruction = _mean_error(vae, numbers, x, kind)
    others = {} if kind == "mse" else {"mse": _mean_error(vae, numbers.detach(), x, "mse")}
    cost, parts = price()
    loss = vae.config.reconstruction_weight * reconstruction + cost
    return {"loss": loss, "reconstruction": reconstruction} | parts | others


def _mean_error(vae: VAE, numbers: Tensor, x: Tensor, kind: Reconstruction) -> Tensor:
    if vae.config.open_ends:
        return open_error(before_clipping(numbers), x, kind)
    return pixel_error(numbers, x, kind, "mean")


def _draw_code(vae: VAE, encoded: Encoded, eps: Tensor) -> tuple[Tensor, Price]:
    """Return a Gaussian code, and what it costs: kl_weight KL."""
    mu, logvar = encoded

    def price() -> tuple[Tensor, Losses]:
        kl = kl_divergence(mu, logvar).mean()
        return vae.config.kl_weight * kl, {"kl": kl}

    return reparameterise(mu, logvar, eps), price


def _commit_code(vae: VAE, encoded: Encoded, chances: Tensor) -> tuple[Tensor, Price]:
    """Return the entries nearest to the encodings, and what they cost: commitment ||z - sg(e)||^2.

    The decoder's gradient goes on to the encodings as if they were the entries. KL is that of one
    entry from all alike, h w log K, which nothing changes.
    """
    codebook = vae.codebook
    assert codebook is not None
    z, _ = encoded
    indices = codebook.find_nearest(z.detach())
    entries = codebook.look_up(indices)

    def price() -> tuple[Tensor, Losses]:
        error = (z - entries).square().mean()
        kl = torch.full_like(error, math.log(len(codebook.counts)) * indices[0].numel())
        used = perplexity(codebook.measure_shares(indices))
        if vae.training:
            codebook.follow(z.detach(), indices, chances)
        parts = {"kl": kl.detach(), "commitment": error, "perplexity": used}
        return vae.config.commitment * error, parts

    return z + (entries - z).detach(), price


def _penalise_code(vae: VAE, encoded: Encoded, _: Tensor) -> tuple[Tensor, Price]:
    """Return the code of an RAE, and what it and the decoder cost (Ghosh et al. 2020, eq. 5).

    kl_weight ||z||^2 / 2, the mean over images, and decoder_penalty ||theta||^2.
    """
    z, _ = encoded

    def price() -> tuple[Tensor, Losses]:
        size = 0.5 * z.square().flatten(1).sum(1).mean()
        weights = torch.stack([p.square().sum() for p in vae.decoder.parameters()]).sum()
        cost = vae.config.kl_weight * size + vae.config.decoder_penalty * weights
        return cost, {"code_penalty": size, "decoder_penalty": weights}

    return z, price
