"""Four ways to make a VAE give each factor of the world a latent of its own.

All add to reconstruction + KL what the papers named at each loss ask for; `reconstruction` and
`kl` are means over the images, in nats. A training is counted in steps, not epochs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from diffusevae.core.params import Range
from diffusevae.core.randomness import generator
from diffusevae.data.dataset import count_at_once, to_unit
from diffusevae.latents.models.beta_vae import VectorVAE, VectorVAEConfig, reconstruction_error
from diffusevae.models.vae_losses import kl_divergence, reparameterise
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.loop import Callbacks, Fit, Losses, OptimiserConfig, fit
from diffusevae.training.validation import validate_in_parts

ObjectiveName = Literal["beta_vae", "annealed_capacity", "factor_vae", "beta_tcvae"]
NAMES = {
    "beta_vae": "beta-VAE",
    "annealed_capacity": "Annealed capacity",
    "factor_vae": "FactorVAE",
    "beta_tcvae": "beta-TCVAE",
}
Strength = Annotated[float, Range(0, 10_000)]


@dataclass(frozen=True)
class ObjectivesConfig:
    """How hard each objective pulls; the beta of the beta-VAE is its network's own.

    gamma weighs abs(KL - C), whose C grows linearly from 0 to `capacity` nats over the first
    `growth` (a share) of the steps; tc_gamma and tc_beta weigh the total correlation of FactorVAE
    and beta-TCVAE; discriminator: widths of the hidden layers of FactorVAE's second network.
    """

    gamma: Strength
    capacity: Annotated[float, Range(0, 1000)]
    growth: Annotated[float, Range(0.01, 1)]
    tc_gamma: Strength
    discriminator: tuple[Annotated[int, Range(1, 4096)], ...]
    tc_beta: Strength


@dataclass(frozen=True, eq=False)
class Coded:
    """A batch on its way through the VAE: q(z|x), the code z drawn from it (each B x latents), and
    the mean reconstruction error and KL of its images."""

    mu: Tensor
    logvar: Tensor
    z: Tensor
    reconstruction: Tensor
    kl: Tensor


def code(model: VectorVAE, x: Tensor, eps: Tensor, pixel_weight: float = 1.0) -> Coded:
    """Pass x in [0, 1] through the VAE; `eps` (B x latents) is the noise of the code.

    A pixel's error counts `pixel_weight` times: 4 where it stands for 2 x 2 of the images for which
    the papers give their strengths.
    """
    mu, logvar = model.encode(x)
    z = reparameterise(mu, logvar, eps)
    error = reconstruction_error(model.decoder(z), x, model.config.reconstruction)
    kl = kl_divergence(mu, logvar)
    return Coded(mu, logvar, z, pixel_weight * error.mean(), kl.mean())


def capacity(config: ObjectivesConfig, done: float) -> float:
    """Return C, `done` (0 to 1) being the share of the steps that lie behind."""
    return config.capacity * min(1.0, done / config.growth)


def capacity_penalty(kl: Tensor, config: ObjectivesConfig, reached: Tensor) -> Tensor:
    """Return gamma abs(KL - C), C being the `capacity` that is reached.

    Burgess et al., "Understanding disentangling in beta-VAE" (2018), equation 8. It takes the
    place of the KL.
    """
    return config.gamma * (kl - reached).abs()


def log_densities(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Return log N(z_i; mu_k, exp(logvar_k)) of every code under every q(z|x_k), per latent.

    z: B x latents, mu and logvar: K x latents; returns B x K x latents.
    """
    distance = (z[:, None] - mu) ** 2 * torch.exp(-logvar)
    return -0.5 * (distance + logvar + math.log(2 * math.pi))


def total_correlation(z: Tensor, mu: Tensor, logvar: Tensor, num_images: int) -> Tensor:
    """Return KL(q(z) || prod q(z_j)) of a batch by minibatch-weighted sampling, in nats.

    Chen et al., "Isolating Sources of Disentanglement in VAEs" (2018), equation S5. `num_images`
    is the size of the data set; it shifts the estimate by a constant.
    """
    log_q = log_densities(z, mu, logvar)  # B x B x latents
    weight = math.log(len(z) * num_images)
    joint = torch.logsumexp(log_q.sum(2), 1) - weight
    each = (torch.logsumexp(log_q, 1) - weight).sum(1)
    return (joint - each).mean()


def draw_orders(count: int, latents: int, rng: torch.Generator) -> Tensor:
    """Return an order of its own for each latent of a batch, count x latents.

    `z.gather(0, orders)` are codes whose latents each come from another image: from prod q(z_j).
    """
    return torch.rand(count, latents, generator=rng, device=rng.device).argsort(0)


class Adversary(nn.Module):
    """A VAE and the discriminator that tells its codes from permuted ones (Kim and Mnih, 2018).

    Trained as one model, so that a checkpoint holds both. Adam keeps its moments for each weight
    apart: one of it over both networks is an optimiser of its own for each, at one learning rate as
    in the paper. Neither loss reaches the other's weights, and both take their steps at once.
    """

    def __init__(self, vae: VectorVAE, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.vae = vae
        sizes = [vae.config.latents, *widths]
        layers: list[nn.Module] = []
        for before, after in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        self.discriminator = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def total_correlation(self, z: Tensor) -> Tensor:
        """Return mean log D / (1 - D) of codes; its gradient reaches the codes alone."""
        frozen = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        return functional_call(self.discriminator, frozen, (z,)).mean()

    def discriminator_loss(self, z: Tensor, permuted: Tensor) -> Tensor:
        """Return the cross-entropy of telling both apart; its gradient stays out of the VAE."""
        real, mixed = self.discriminator(z.detach()), self.discriminator(permuted.detach())
        return 0.5 * (F.softplus(-real) + F.softplus(mixed)).mean()


def objective_losses(
    objective: ObjectiveName,
    config: ObjectivesConfig,
    model: VectorVAE | Adversary,
    coded: Coded,
    num_images: int,
    reached: Tensor,
    orders: Tensor,
) -> Losses:
    """Return what a batch is trained on and its parts.

    `reached` is the `capacity` of annealed capacity, `orders` (B x latents, `draw_orders`) permutes
    the codes of FactorVAE.
    """
    parts = {"reconstruction": coded.reconstruction, "kl": coded.kl}
    elbo = coded.reconstruction + coded.kl
    vae = model.vae if isinstance(model, Adversary) else model
    if objective == "beta_vae":
        return {"loss": coded.reconstruction + vae.config.beta * coded.kl, **parts}
    if objective == "annealed_capacity":
        return {"loss": coded.reconstruction + capacity_penalty(coded.kl, config, reached), **parts}
    if objective == "beta_tcvae":
        # The KL is mutual information + TC + KL of each latent; of these TC alone counts beta.
        tc = total_correlation(coded.z, coded.mu, coded.logvar, num_images)
        return {"loss": elbo + (config.tc_beta - 1) * tc, **parts, "tc": tc}
    assert isinstance(model, Adversary)  # FactorVAE's
    tc = model.total_correlation(coded.z)
    told = model.discriminator_loss(coded.z, coded.z.gather(0, orders))
    return {"loss": elbo + config.tc_gamma * tc + told, **parts, "tc": tc, "discriminator": told}


def fit_disentangling(
    objective: ObjectiveName,
    config: ObjectivesConfig,
    vae: VectorVAEConfig,
    optimiser: OptimiserConfig,
    train: Tensor,
    validation: Tensor,
    steps: int,
    seed: int,
    pixel_weight: float,
    callbacks: Callbacks,
    checkpointer: Checkpointer | None = None,
) -> tuple[VectorVAE, dict[str, float]]:
    """Train on uint8 images N x 1 x H x W, on the device to use; return (VAE, its losses).

    `fit` counts epochs and keeps the best; here the objectives move with the steps and with the
    discriminator, so that losses of different moments do not compare: all steps are one epoch, in
    which every image comes up equally often, and its end is kept. validation_loss is
    reconstruction + KL, for every objective the same. Otherwise the contract of `training.fit`.
    """
    torch.manual_seed(seed)  # initial weights
    inner = VectorVAE(vae, train.shape[1:])
    given = Adversary(inner, config.discriminator) if objective == "factor_vae" else inner
    model: VectorVAE | Adversary = given.to(train.device)

    def noise(count: int, *keys: int | str) -> Tensor:
        rng = generator(seed, "disentangling", *keys, device=train.device)
        return torch.randn(count, vae.latents, generator=rng, device=train.device)

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor, ...]:
        x = to_unit(train[indices[rows] % len(train)])
        rng = generator(seed, "permutation", batch, device=train.device)
        reached = torch.full((), capacity(config, batch / steps), device=train.device)
        orders = draw_orders(len(x), vae.latents, rng)
        return x, noise(len(indices), batch)[rows], reached, orders

    def losses(model: VectorVAE | Adversary, x: Tensor, eps: Tensor, *drawn: Tensor) -> Losses:
        coded = code(_vae_of(model), x, eps, pixel_weight)
        return objective_losses(objective, config, model, coded, len(train), *drawn)

    validate = partial(_validate, validation, noise, pixel_weight)
    task = Fit(draw, losses, validate, steps * optimiser.batch_size)
    trained, history = fit(model, optimiser, 1, seed, task, callbacks, checkpointer)
    return _vae_of(trained), history[-1]


def _vae_of(model: VectorVAE | Adversary) -> VectorVAE:
    return model.vae if isinstance(model, Adversary) else model


def _validate(
    validation: Tensor,
    noise: Callable[..., Tensor],
    pixel_weight: float,
    model: VectorVAE | Adversary,
) -> dict[str, float]:
    """Return reconstruction, KL and their sum as loss, means over uint8 images; see `code`."""

    def losses(part: slice, number: int) -> Losses:
        x = to_unit(validation[part])
        coded = code(_vae_of(model), x, noise(len(x), "validation", number), pixel_weight)
        return {"reconstruction": coded.reconstruction, "kl": coded.kl}

    count = len(validation)
    at_once = count_at_once(validation.shape[1:])
    found = validate_in_parts(count, losses, lambda items: items / count, total=1, at_once=at_once)
    return {"loss": found["reconstruction"] + found["kl"], **found}
