"""The autoencoders of the family: the deterministic one, the sparse one, and how all are trained.

A deterministic autoencoder is a VectorVAE that is taken at its mean: no noise, no KL.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor

from diffusevae.core.params import PositiveCount, Range
from diffusevae.core.randomness import generator
from diffusevae.data.dataset import to_unit
from diffusevae.latents.autoencoders.part import AE, VAE, Data, Kind, Train
from diffusevae.latents.models.beta_vae import (
    BATCH,
    Reconstruction,
    VectorVAE,
    VectorVAEConfig,
    beta_vae_loss,
    fit_vector_vae,
    reconstruction_error,
)
from diffusevae.training.checkpointer import Progress
from diffusevae.training.loop import Callbacks, Fit, History, Losses, Model, OptimiserConfig, fit

Loss = Callable[[VectorVAE, Tensor, Tensor], Losses]
# Returns (inputs, targets) of the training or validation items with these indices.
Pairs = Callable[[Literal["train", "validation"], Tensor, Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class NetworkConfig:
    """Widths of the networks (as VectorVAEConfig has them), and how long they are trained."""

    channels: tuple[Annotated[int, Range(1, 1024)], ...]
    hidden: tuple[Annotated[int, Range(1, 4096)], ...]
    epochs: PositiveCount
    optimiser: OptimiserConfig


def autoencoder_loss(model: VectorVAE, x: Tensor, eps: Tensor) -> Losses:
    """Return the reconstruction error of decode(mu(x)), mean over the images; `eps` is not used."""
    logits = model.decoder(model.encode(x)[0])
    return {"loss": reconstruction_error(logits, x, model.config.reconstruction).mean()}


def train_autoencoder(
    kind: Kind,
    network: NetworkConfig,
    latents: int,
    data: Data,
    seed: int,
    train: Train,
    dataset: str = "",
    beta: float = 0.0,
    reconstruction: Reconstruction = "mse",
) -> VectorVAE:
    """Return a trained autoencoder or VAE of so many latents."""
    losses: dict[Kind, Loss] = {AE: autoencoder_loss, VAE: beta_vae_loss}
    facts = {
        "kind": kind,
        "latents": latents,
        "reconstruction": reconstruction,
        "beta": beta,
        "seed": seed,
        "dataset": dataset,
    }
    name = "-".join(str(value).lower() for value in facts.values() if value != "")
    return train_with_loss(
        name, facts, network, losses[kind], latents, data, seed, train, beta, reconstruction
    )


def train_with_loss(
    name: str,
    facts: Mapping[str, object],
    network: NetworkConfig,
    loss: Loss,
    latents: int,
    data: Data,
    seed: int,
    train: Train,
    beta: float = 0.0,
    reconstruction: Reconstruction = "mse",
) -> VectorVAE:
    """Return a VectorVAE trained with any loss."""
    config = VectorVAEConfig(
        latents, network.channels, network.hidden, reconstruction, beta, "mean"
    )
    return train(
        name,
        facts,
        lambda callbacks, progress: fit_vector_vae(
            config,
            network.optimiser,
            data.train,
            data.validation,
            network.epochs,
            seed,
            callbacks,
            progress,
            loss,
        ),
    )


def fit_pairs(
    model: Model,
    optimiser: OptimiserConfig,
    epochs: int,
    seed: int,
    counts: Sequence[int],
    pairs: Pairs,
    error: Callable[[Tensor, Tensor], Tensor],
    callbacks: Callbacks,
    progress: Progress | None = None,
) -> tuple[Model, History]:
    """Train a network to map inputs to targets; same contract as `training.fit`.

    counts: training and validation items; error(output, target) has a number for each of them.
    """
    device = next(model.parameters()).device
    num_train, num_validation = counts

    def batch_loss(model: Model, indices: Tensor, epoch: int, batch: int, rows: slice) -> Losses:
        rng = generator(seed, "pairs", epoch, batch, device=device)
        inputs, targets = pairs("train", indices[rows], rng)
        return {"loss": error(model(inputs), targets).mean()}

    @torch.inference_mode()
    def validate(model: Model) -> dict[str, float]:
        total = 0.0
        for batch, indices in enumerate(torch.arange(num_validation, device=device).split(BATCH)):
            rng = generator(seed, "pairs", "validation", batch, device=device)
            inputs, targets = pairs("validation", indices, rng)
            total += float(error(model(inputs), targets).sum())
        return {"loss": total / num_validation}

    task = Fit(batch_loss, validate, num_train)
    return fit(model, optimiser, epochs, seed, task, callbacks, progress)


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return the squared error of each item, summed over its numbers: B."""
    return (output - target).square().flatten(1).sum(1)


@torch.inference_mode()
def apply(network: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Return what a network makes of inputs, N x ..., on the CPU; uint8 is brought to [0, 1]."""
    parts = inputs.split(BATCH)
    return torch.cat(
        [network(to_unit(part) if part.dtype == torch.uint8 else part).cpu() for part in parts]
    )
