"""The networks of the family, and how they are trained: autoencoder, VAE, or with any loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from torch import Tensor

from diffusevae.core.params import PositiveCount, Range
from diffusevae.latents.autoencoders.part import AE, VAE, Data, Kind, Train
from diffusevae.latents.models.autoencoder import autoencoder_loss
from diffusevae.latents.models.beta_vae import (
    Reconstruction,
    VectorVAE,
    VectorVAEConfig,
    beta_vae_loss,
    fit_vector_vae,
)
from diffusevae.training.loop import Losses, OptimiserConfig

Loss = Callable[[VectorVAE, Tensor, Tensor], Losses]


@dataclass(frozen=True)
class NetworkConfig:
    """Widths of the networks (as VectorVAEConfig has them), and how long they are trained."""

    channels: tuple[Annotated[int, Range(1, 1024)], ...]
    hidden: tuple[Annotated[int, Range(1, 4096)], ...]
    epochs: PositiveCount
    optimiser: OptimiserConfig


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
        partial(
            fit_vector_vae,
            config,
            network.optimiser,
            data.train,
            data.validation,
            network.epochs,
            seed,
            loss=loss,
        ),
    )
