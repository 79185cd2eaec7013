"""New codes of each prior by its name, fitted or trained on the codes of a first stage."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pandas as pd
import torch
from torch import Tensor, nn

from diffusevae.core.randomness import generator
from diffusevae.models.latent_mixture import Mixture
from diffusevae.models.vae import VAE
from diffusevae.studies.priors.learned_priors import (
    draw_codes,
    draw_indexed_codes,
    fit_code_diffusion,
    fit_code_flow,
    fit_index_prior,
)
from diffusevae.studies.priors.mixture_sizes import choose_mixture
from diffusevae.studies.priors.priors_study import FLOOR, MIXTURE
from diffusevae.training.stage_trainings import OpenTraining


@dataclass(frozen=True, eq=False)
class KnownCodes:
    """mu and logvar of training and of held-out images, N x Cz x h x w, on the device to use.

    labels: the classes of the training images (N, CPU), where the VAE is told them.
    """

    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    labels: Tensor | None


@dataclass(frozen=True, eq=False)
class NewCodes:
    """Codes N x Cz x h x w on the CPU, and the classes (N) that the decoder is to be told, if any.

    size: how many parameters the prior has. sizes: the mixtures that it was chosen among.
    """

    codes: Tensor
    labels: Tensor | None
    size: int
    sizes: pd.DataFrame | None = None


def draw_new(
    prior: str,
    params: SimpleNamespace,
    vae: VAE,
    known: KnownCodes,
    name: str,
    open_one: OpenTraining,
) -> NewCodes:
    """Return new codes of a prior; FLOOR gives those of training images themselves.

    Where the decoder is told classes, they are as frequent as in training. The mixture then has
    Gaussians of each; the other priors draw a code whatever the class. name: of the first stage.
    """
    num, seed = params.priors.num_images, params.seed
    codes, held_out = known.train[0], known.held_out[0]
    rng = torch.Generator().manual_seed(seed)
    if prior == MIXTURE:
        return _draw_of_mixture(params, known, rng)
    if prior == FLOOR:
        first = slice(num)
        return NewCodes(codes[first].cpu(), _take(known.labels, first), 0)
    drawn = torch.randint(len(codes), (num,), generator=generator(seed, "priors", "labels"))
    labels = _take(known.labels, drawn)
    if prior == "normal":
        return NewCodes(torch.randn(num, *vae.latent_shape, generator=rng), labels, 0)
    with open_one(f"{name}-{prior}", {"kind": name, "prior": prior}) as training:
        if prior == "autoregressive":
            indexed = fit_index_prior(params, vae, codes, held_out, training)
            made = draw_indexed_codes(vae, indexed.eval(), num, seed)
            return NewCodes(made, labels, count_parameters(indexed))
        if prior == "flow":
            flow = fit_code_flow(params, known.train, known.held_out, training)
            made = flow.sample(num, generator(seed, "priors", "flow")).cpu()
            size = count_parameters(flow) + count_moments(flow.mixture)
            return NewCodes(made, labels, size)
        model = fit_code_diffusion(params, codes, held_out, training)
        return NewCodes(draw_codes(params, model, num, seed), labels, count_parameters(model))


def _draw_of_mixture(params: SimpleNamespace, known: KnownCodes, rng: torch.Generator) -> NewCodes:
    told = known.labels is not None
    config = replace(params.prior, per_class=told) if told else params.prior
    sizes = params.priors.num_components
    mixture, table = choose_mixture(
        config, sizes, known.train[0], known.held_out[0], params.seed, known.labels
    )
    num = params.priors.num_images
    labels = mixture.draw_labels(num, rng) if told else None
    return NewCodes(mixture.sample(num, rng, labels), labels, count_moments(mixture), table)


def _take(labels: Tensor | None, chosen: Tensor | slice) -> Tensor | None:
    return None if labels is None else labels[chosen]


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers of a model were learned."""
    return sum(p.numel() for p in model.parameters()) + sum(
        buffer.numel() for name, buffer in model.named_buffers() if name == "codebook.entries"
    )


def count_moments(mixture: Mixture) -> int:
    """Return how many numbers a mixture has: weights, means and (symmetric) covariances."""
    k, d = mixture.means.shape
    return k * (1 + d + (d if mixture.factors.dim() == 2 else d * (d + 1) // 2))
