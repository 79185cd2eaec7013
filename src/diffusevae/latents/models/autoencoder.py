"""The deterministic autoencoder, and how a network is trained to map inputs to targets.

A deterministic autoencoder is a VectorVAE that is taken at its mean: no noise, no KL.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Generator, Tensor

from diffusevae.core.randomness import generator
from diffusevae.data.dataset import in_batches, to_unit
from diffusevae.latents.models.beta_vae import VectorVAE, reconstruction_error
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.loop import Callbacks, Fit, History, Losses, Model, OptimiserConfig, fit
from diffusevae.training.validation import validate_in_parts

# Returns (inputs, targets) of the training or validation items with these indices.
Pairs = Callable[[Literal["train", "validation"], Tensor, Generator], tuple[Tensor, Tensor]]


def autoencoder_loss(model: VectorVAE, x: Tensor, eps: Tensor) -> Losses:
    """Return the reconstruction error of decode(mu(x)), mean over the images; `eps` is not used."""
    logits = model.decoder(model.encode(x)[0])
    return {"loss": reconstruction_error(logits, x, model.config.reconstruction).mean()}


def fit_pairs(
    model: Model,
    optimiser: OptimiserConfig,
    epochs: int,
    seed: int,
    counts: Sequence[int],
    pairs: Pairs,
    error: Callable[[Tensor, Tensor], Tensor],
    callbacks: Callbacks,
    checkpointer: Checkpointer | None = None,
) -> tuple[Model, History]:
    """Train a network to map inputs to targets; same contract as `training.fit`.

    counts: training and validation items; error(output, target) has a number for each of them.
    """
    device = next(model.parameters()).device
    num_train, num_validation = counts

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor, Tensor]:
        rng = generator(seed, "pairs", epoch, batch, device=device)
        return pairs("train", indices[rows], rng)

    def batch_losses(model: Model, inputs: Tensor, targets: Tensor) -> Losses:
        return {"loss": error(model(inputs), targets).mean()}

    def validate(model: Model) -> dict[str, float]:
        def losses(part: slice, number: int) -> Losses:
            rng = generator(seed, "pairs", "validation", number, device=device)
            indices = torch.arange(part.start, part.stop, device=device)
            inputs, targets = pairs("validation", indices, rng)
            return {"loss": error(model(inputs), targets).sum()}

        return validate_in_parts(num_validation, losses, weight=lambda items: 1.0)

    task = Fit(draw, batch_losses, validate, num_train)
    return fit(model, optimiser, epochs, seed, task, callbacks, checkpointer)


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return the squared error of each item, summed over its numbers: B."""
    return (output - target).square().flatten(1).sum(1)


@torch.inference_mode()
def apply(network: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Return what a network makes of inputs, N x ..., on the CPU; uint8 is brought to [0, 1]."""
    parts = in_batches(inputs)
    return torch.cat(
        [network(to_unit(part) if part.dtype == torch.uint8 else part).cpu() for part in parts]
    )
