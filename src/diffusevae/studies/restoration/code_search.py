"""Codes of the VAE whose pictures agree with what was observed of an image."""

import torch
from torch import Tensor

from diffusevae.data.dataset import in_batches
from diffusevae.models.latent_mixture import Mixture
from diffusevae.models.vae import VAE


def log_density(mixture: Mixture, codes: Tensor) -> Tensor:
    """Return log p of codes (N x Cz x h x w) under the mixture, up to a constant: N."""
    offsets = codes.flatten(1)[:, None] - mixture.means.to(codes)  # N x K x D
    factors = mixture.factors.to(codes)
    if factors.dim() == 2:
        scaled, sizes = offsets / factors, factors
    else:
        inverses = torch.linalg.solve_triangular(
            factors, torch.eye(factors.shape[-1]).to(factors), upper=False
        )
        scaled = torch.einsum("kij,nkj->nki", inverses, offsets)
        sizes = factors.diagonal(dim1=1, dim2=2)
    heights = mixture.weights.to(codes).log() - sizes.log().sum(1)
    return torch.logsumexp(heights - scaled.square().sum(2) / 2, dim=1)


def search_codes(
    vae: VAE,
    mixture: Mixture,
    observed: Tensor,
    known: Tensor,
    starts: Tensor,
    spread: float,
    num_steps: int,
    learning_rate: float,
) -> Tensor:
    """Return the pictures of probable codes, N x C x H x W in [0,1] on the CPU.

    A code climbs log p(z) - |known (observed - decode(z))|^2 / (2 spread^2) from the code of its
    start, by Adam. observed and starts: N x C x H x W in [0,1]; known: C x H x W.
    """
    device = next(vae.parameters()).device
    known = known.to(device)
    pictures = []
    for seen, start in zip(in_batches(observed), in_batches(starts), strict=True):
        seen = seen.to(device)
        with torch.no_grad():
            codes = vae.encode(start.to(device))[0]
        codes.requires_grad_()
        optimiser = torch.optim.Adam([codes], lr=learning_rate)
        for _ in range(num_steps):
            error = (known * (vae.decode(codes) - seen)).square().sum()
            loss = error / (2 * spread**2) - log_density(mixture, codes).sum()
            (codes.grad,) = torch.autograd.grad(loss, codes)
            optimiser.step()
        with torch.no_grad():
            pictures.append(vae.decode(codes).cpu())
    return torch.cat(pictures)
