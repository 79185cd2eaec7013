"""What a VAE is trained by: the error of its reconstruction, and KL (docs/study.md, section 2)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from diffusevae.models.vae import VAE, Reconstruction


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


def vae_loss(vae: VAE, x: Tensor, eps: Tensor) -> dict[str, Tensor]:
    """Return loss = reconstruction + kl_weight KL, and its two parts, for x in [0,1].

    The reconstruction error is the mean over all pixels, KL (nats per image) the mean over images.
    Where that error is no mean squared one, mse is this: it compares VAEs of any loss.
    `eps` (B x Cz x h x w) is the noise of the code; zeros give the loss at z = mu.
    """
    mu, logvar = vae.encode(x)
    logits = vae.decoder(reparameterise(mu, logvar, eps))
    kind = vae.config.reconstruction
    reconstruction = pixel_error(logits, x, kind, "mean")
    others = {} if kind == "mse" else {"mse": pixel_error(logits.detach(), x, "mse", "mean")}
    kl = kl_divergence(mu, logvar).mean()
    return {
        "loss": reconstruction + vae.config.kl_weight * kl,
        "reconstruction": reconstruction,
        "kl": kl,
    } | others
