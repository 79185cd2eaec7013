"""Priors trained on codes: a flow, a latent diffusion, and one over a codebook's indices."""

import dataclasses
from types import SimpleNamespace

import torch
from torch import Tensor

from diffusevae.core.randomness import generator, seed_of
from diffusevae.models.code_diffusion import CodeDiffusion
from diffusevae.models.code_flow import CodeFlow
from diffusevae.models.index_prior import IndexPrior
from diffusevae.models.mixture_fitting import fit_mixture
from diffusevae.models.vae import VAE
from diffusevae.models.vae_losses import reparameterise
from diffusevae.sampling.samplers import sample
from diffusevae.training.loop import Fit, Losses, Model, fit
from diffusevae.training.stage_trainings import Training
from diffusevae.training.validation import validate_in_parts

WIDENING = 8  # of the latent diffusion's MLP, against priors.channels
FLOW_WIDENING = 4  # and of those of the flow


def fit_code_diffusion(
    params: SimpleNamespace, codes: Tensor, held_out: Tensor, training: Training
) -> CodeDiffusion:
    """Train the experiment's diffusion on codes (N x Cz x h x w, on the device to use)."""
    device, seed = codes.device, params.seed
    torch.manual_seed(seed_of(seed, "code_diffusion"))
    config = dataclasses.replace(params.diffusion, open_ends=False)
    model = CodeDiffusion(config, WIDENING * params.priors.channels, codes.cpu()).to(device)

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor, ...]:
        rng = generator(seed, "code_diffusion", epoch, batch, device=device)
        return tuple(each[rows] for each in model.draw(codes[indices], rng))

    def validate(judged: CodeDiffusion) -> dict[str, float]:
        def losses(part: slice, number: int) -> Losses:
            rng = generator(seed, "code_diffusion", "validation", number, device=device)
            return judged.losses(*judged.draw(held_out[part], rng))

        return validate_in_parts(len(held_out), losses)

    task = Fit(draw, CodeDiffusion.losses, validate, len(codes), in_parts=True)
    return _fit(model, params, task, training)


def fit_code_flow(
    params: SimpleNamespace,
    codes: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    training: Training,
) -> CodeFlow:
    """Train a flow on draws from the posteriors of images, new ones in each epoch.

    It begins as the experiment's mixture, fitted to the first of them. codes, held_out: mu and
    logvar, each N x Cz x h x w on the device to use. The noise of a posterior is what the decoder
    takes no notice of, so the flow needs not fit codes more closely.
    """
    (mu, logvar), (others, spread), seed = codes, held_out, params.seed
    torch.manual_seed(seed_of(seed, "code_flow"))

    def noise(count: int, *keys: int | str) -> Tensor:
        rng = generator(seed, "code_flow", *keys, device=mu.device)
        return torch.randn(count, *mu.shape[1:], generator=rng, device=mu.device)

    first = reparameterise(mu, logvar, noise(len(mu), "first"))
    mixture = fit_mixture(dataclasses.replace(params.prior, per_class=False), first, seed)
    model = CodeFlow(mixture, FLOW_WIDENING * params.priors.channels).to(mu.device)
    judged = reparameterise(others, spread, noise(len(others), "validation"))

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor]:
        chosen, eps = indices[rows], noise(len(indices), epoch, batch)[rows]
        return (reparameterise(mu[chosen], logvar[chosen], eps),)

    def validate(flow: CodeFlow) -> dict[str, float]:
        return validate_in_parts(len(judged), lambda part, _: flow.losses(judged[part]))

    return _fit(
        model, params, Fit(draw, CodeFlow.losses, validate, len(mu), in_parts=True), training
    )


def draw_codes(params: SimpleNamespace, model: CodeDiffusion, num: int, seed: int) -> Tensor:
    """Return num new codes of a latent diffusion, N x Cz x h x w on the CPU."""
    sampler = dataclasses.replace(
        params.sampler,
        sampler="ddim",
        eta=0.0,
        num_steps=params.priors.num_steps,
        clip=True,
        guidance=0.0,
    )
    made = sample(model, sampler, num, seed)
    return model.to_codes(made.to(model.mean.device)).cpu()


def fit_index_prior(
    params: SimpleNamespace, vae: VAE, codes: Tensor, held_out: Tensor, training: Training
) -> IndexPrior:
    """Train a prior over the indices of a VQ-VAE's codes (N x Cz x h x w, on the device to use)."""
    codebook = vae.codebook
    assert codebook is not None  # the params were checked
    known, others = (find_indices(vae, each) for each in (codes, held_out))
    torch.manual_seed(seed_of(params.seed, "index_prior"))
    entries, channels = len(codebook.counts), params.priors.channels
    model = IndexPrior(entries, known.shape[1], channels).to(codes.device)

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor]:
        return (known[indices[rows]],)

    def validate(judged: IndexPrior) -> dict[str, float]:
        return validate_in_parts(len(others), lambda part, _: judged.losses(others[part]))

    task = Fit(draw, IndexPrior.losses, validate, len(known), in_parts=True)
    return _fit(model, params, task, training)


def _fit(model: Model, params: SimpleNamespace, task: Fit, training: Training) -> Model:
    """Train a prior as the experiment's diffusion models are, for priors.epochs."""
    fitted, _ = fit(
        model,
        params.diffusion_optimiser,
        params.priors.epochs,
        params.seed,
        task,
        training.callbacks(),
        training.checkpointer,
    )
    return fitted


@torch.inference_mode()
def find_indices(vae: VAE, codes: Tensor) -> Tensor:
    """Return the codebook's indices of codes (N x Cz x h x w), row by row: N x (h w)."""
    assert vae.codebook is not None
    return torch.cat([vae.codebook.find_nearest(each).flatten(1) for each in codes.split(500)])


@torch.inference_mode()
def draw_indexed_codes(vae: VAE, model: IndexPrior, num: int, seed: int) -> Tensor:
    """Return num new codes of a prior over indices, N x Cz x h x w on the CPU."""
    assert vae.codebook is not None
    rng = generator(seed, "priors", "indices")
    drawn = torch.cat([model.sample(len(part), rng) for part in torch.arange(num).split(500)])
    return vae.codebook.look_up(drawn.unflatten(1, vae.latent_shape[1:])).cpu()
