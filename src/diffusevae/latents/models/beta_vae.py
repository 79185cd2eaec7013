"""The beta-VAE: a VAE whose code is a vector, of images, spectra or whatever has a fixed shape.

Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework"
(2017). The network is VectorVAE; that of the beta-VAE study (docs/study.md, B1) has channels
[32, 64], hidden [].
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from diffusevae.core.errors import InputError
from diffusevae.core.params import Range, build
from diffusevae.core.randomness import generator
from diffusevae.core.tensor_file import load_config, load_tensors, of_one_model, save_tensors
from diffusevae.data.dataset import count_at_once, in_batches, to_unit
from diffusevae.models.vae import LOGVAR_RANGE
from diffusevae.models.vae_config import Reconstruction
from diffusevae.models.vae_losses import kl_divergence, pixel_error, reparameterise
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.loop import Callbacks, Fit, History, Losses, OptimiserConfig, fit
from diffusevae.training.validation import validate_in_parts

CONVOLUTIONS = {1: (nn.Conv1d, nn.ConvTranspose1d), 2: (nn.Conv2d, nn.ConvTranspose2d)}


@dataclass(frozen=True)
class VectorVAEConfig:
    """Architecture and loss.

    channels: widths of convolutions of size 4 and stride 2, each halving every length; hidden:
    widths of linear layers between them and the code of `latents` numbers. normalisation: "sum"
    adds the losses of a batch (the study), "mean" averages them over its images.
    """

    latents: Annotated[int, Range(1, 1024)]
    channels: tuple[Annotated[int, Range(1, 1024)], ...]
    hidden: tuple[Annotated[int, Range(1, 4096)], ...]
    reconstruction: Reconstruction
    beta: Annotated[float, Range(0, 10_000)]
    normalisation: Literal["sum", "mean"]


class VectorVAE(nn.Module):
    """q(z|x) = N(mu, exp(logvar)) and p(x|z), z being a vector with the standard normal as prior.

    `shape` is that of one x: C x H x W or C x L. Raises InputError where a length cannot be halved
    as often as there are convolutions.
    """

    def __init__(self, config: VectorVAEConfig, shape: Sequence[int]) -> None:
        super().__init__()
        halvings = len(config.channels)
        if any(length % 2**halvings for length in shape[1:]):
            lengths = " x ".join(map(str, shape[1:]))
            raise InputError(
                f"channels {list(config.channels)}: {lengths} cannot be halved "
                f"{halvings} times; name fewer channels"
            )
        self.config, self.shape = config, tuple(shape)
        convolution, transposed = CONVOLUTIONS[len(shape) - 1]
        widths = [shape[0], *config.channels]
        inner = (widths[-1], *(length // 2**halvings for length in shape[1:]))
        sizes = [math.prod(inner), *config.hidden]
        down: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            down += [convolution(before, after, 4, 2, 1), nn.ReLU()]
        down.append(nn.Flatten())
        for before, after in zip(sizes, sizes[1:], strict=False):
            down += [nn.Linear(before, after), nn.ReLU()]
        self.encoder = nn.Sequential(*down)
        self.to_mu = nn.Linear(sizes[-1], config.latents)
        self.to_logvar = nn.Linear(sizes[-1], config.latents)
        up: list[nn.Module] = []
        for before, after in zip([config.latents, *sizes[:0:-1]], sizes[::-1], strict=True):
            up += [nn.Linear(before, after), nn.ReLU()]
        up[-1] = nn.Unflatten(1, inner)  # in the place of the last ReLU
        for before, after in zip(widths[::-1], widths[-2::-1], strict=False):
            up += [transposed(before, after, 4, 2, 1), nn.ReLU()]
        self.decoder = nn.Sequential(*(up[:-1] if halvings else up))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar, each B x latents, of x in [0, 1]; logvar lies in [-30, 20]."""
        h = self.encoder(x)
        return self.to_mu(h), self.to_logvar(h).clamp(*LOGVAR_RANGE)

    def decode(self, z: Tensor) -> Tensor:
        """Return x in [0, 1] of codes, B x latents."""
        return torch.sigmoid(self.decoder(z))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return decode(mu(x)) in [0, 1]."""
        return self.decode(self.encode(x)[0])


def reconstruction_error(logits: Tensor, x: Tensor, kind: Reconstruction) -> Tensor:
    """Return the error of each x in [0, 1], summed over its numbers: B."""
    return pixel_error(logits, x, kind, "none").flatten(1).sum(1)


def beta_vae_loss(model: VectorVAE, x: Tensor, eps: Tensor, seen: Tensor | None = None) -> Losses:
    """Return loss = reconstruction + beta KL and both parts, of x in [0, 1] (docs/study.md, B2).

    `eps` (B x latents) is the noise of the code; `seen` is what the encoder gets where that is not
    x itself but a disturbed x.
    """
    mu, logvar = model.encode(x if seen is None else seen)
    logits = model.decoder(reparameterise(mu, logvar, eps))
    reconstruction = reconstruction_error(logits, x, model.config.reconstruction)
    kl = kl_divergence(mu, logvar)
    total = torch.sum if model.config.normalisation == "sum" else torch.mean
    return {
        "loss": total(reconstruction + model.config.beta * kl),
        "reconstruction": total(reconstruction),
        "kl": total(kl),
    }


def fit_vector_vae(
    config: VectorVAEConfig,
    optimiser: OptimiserConfig,
    train: Tensor,
    validation: Tensor,
    epochs: int,
    seed: int,
    callbacks: Callbacks,
    checkpointer: Checkpointer | None = None,
    loss: Callable[[VectorVAE, Tensor, Tensor], Losses] = beta_vae_loss,
) -> tuple[VectorVAE, History]:
    """Train on uint8 images N x C x H x W, on the device to use; return (averaged model, history).

    Same contract as `training.fit`; what the history has of the validation is always of one image.
    """
    torch.manual_seed(seed)  # initial weights
    model = VectorVAE(config, train.shape[1:]).to(train.device)

    def noise(count: int, *keys: int | str) -> Tensor:
        rng = generator(seed, "vector_vae", *keys, device=train.device)
        return torch.randn(count, config.latents, generator=rng, device=train.device)

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor, Tensor]:
        eps = noise(len(indices), epoch, batch)[rows]
        return to_unit(train[indices[rows]]), eps

    def validate(model: VectorVAE) -> dict[str, float]:
        def losses(part: slice, number: int) -> Losses:
            x = to_unit(validation[part])
            return loss(model, x, noise(len(x), "validation", number))

        def weight(items: int) -> float:
            return (1 if config.normalisation == "sum" else items) / len(validation)

        at_once = count_at_once(validation.shape[1:])
        return validate_in_parts(len(validation), losses, weight, total=1, at_once=at_once)

    task = Fit(draw, loss, validate, len(train))
    return fit(model, optimiser, epochs, seed, task, callbacks, checkpointer)


@torch.inference_mode()
def encode_images(model: VectorVAE, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mu and logvar (each N x latents, on the CPU) of uint8 images."""
    device = next(model.parameters()).device
    parts = [model.encode(to_unit(part.to(device))) for part in in_batches(images)]
    return torch.cat([mu.cpu() for mu, _ in parts]), torch.cat([var.cpu() for _, var in parts])


def save_vector_vae(path: Path, model: VectorVAE) -> None:
    """Write the weights with everything needed to load them again."""
    config = {"shape": model.shape, "vector_vae": dataclasses.asdict(model.config)}
    save_tensors(path, model.state_dict(), config)


@of_one_model
def load_vector_vae(path: Path, device: torch.device | str = "cpu") -> VectorVAE:
    """Return the frozen model of a checkpoint. Raises InputError, also for another kind's."""
    config = load_config(path)
    if "vector_vae" not in config:
        raise InputError(f"{path}: no model with a vector of latents; give a beta-VAE's")
    model = VectorVAE(build(VectorVAEConfig, config["vector_vae"], str(path)), config["shape"])
    model.load_state_dict(load_tensors(path))
    return model.to(device).eval().requires_grad_(False)
