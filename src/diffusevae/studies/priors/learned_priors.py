"""Priors that are trained on codes: a latent diffusion, and for a codebook one over its indices."""

import dataclasses
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from diffusevae.core.randomness import generator, seed_of
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.models.index_prior import IndexPrior
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae import VAE
from diffusevae.sampling.samplers import sample
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Fit, fit
from diffusevae.training.stage_trainings import Training
from diffusevae.training.validation import validate_in_parts

REACH = 3.0  # standard deviations of a channel that a diffused code may be from its mean


@dataclass(frozen=True, eq=False)
class Box:
    """The codes that diffusion takes for an image's [0, 1]: their low and size, Cz x 1 x 1."""

    low: Tensor
    size: Tensor

    def to_unit(self, codes: Tensor) -> Tensor:
        """Return codes N x Cz x h x w in [0, 1]; what lies outside comes to its edge."""
        return ((codes - self.low) / self.size).clamp(0, 1)

    def to_codes(self, images: Tensor) -> Tensor:
        """Return the codes that images N x Cz x h x w in [0, 1] stand for."""
        return self.low + self.size * images


def measure_box(codes: Tensor) -> Box:
    """Return REACH standard deviations of each channel of codes (N x Cz x h x w) about its mean."""
    mean = codes.mean((0, 2, 3))[:, None, None]
    reach = REACH * codes.std((0, 2, 3))[:, None, None].clamp(min=1e-6)
    return Box(mean - reach, 2 * reach)


def fit_code_diffusion(
    params: SimpleNamespace, codes: Tensor, held_out: Tensor, training: Training
) -> DiffusionModel:
    """Train the experiment's diffusion on codes in [0, 1] (Rombach et al. 2022, section 3.2).

    Its network is one level of the UNet: residual blocks and attention at the size of the code.
    """
    channels = params.priors.channels
    unet = UNetConfig(channels, (1,), 2, (0,), 4, channels, 0.0, ("in",))
    config = dataclasses.replace(params.diffusion, open_ends=False)
    model, _ = fit_diffusion(
        config,
        unet,
        params.diffusion_optimiser,
        Images(codes),
        Images(held_out),
        params.priors.epochs,
        0.0,
        params.seed,
        training.callbacks(),
        training.checkpointer,
    )
    return model


def draw_codes(
    params: SimpleNamespace, model: DiffusionModel, box: Box, num: int, seed: int
) -> Tensor:
    """Return num new codes of a latent diffusion, N x Cz x h x w on the CPU."""
    sampler = dataclasses.replace(
        params.sampler,
        sampler="ddim",
        eta=0.0,
        num_steps=params.priors.num_steps,
        clip=True,
        guidance=0.0,
    )
    return box.to_codes(sample(model, sampler, num, seed))


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

    task = Fit(draw, IndexPrior.losses, validate, len(known))
    return fit(
        model,
        params.diffusion_optimiser,
        params.priors.epochs,
        params.seed,
        task,
        training.callbacks(),
        training.checkpointer,
    )[0]


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
