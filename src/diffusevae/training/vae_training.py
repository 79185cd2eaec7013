"""Training of the VAE (docs/study.md, sections 2 and 6)."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import PositiveCount
from diffusevae.core.randomness import generator, seed_of
from diffusevae.core.tensor_file import save_tensors
from diffusevae.data.dataset import Split, count_at_once, to_unit
from diffusevae.models.vae import VAE, VAEConfig, encode_all
from diffusevae.models.vae_losses import draw_noise, vae_loss
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.distributed import ALONE, Group
from diffusevae.training.loop import Callbacks, Fit, History, Losses, OptimiserConfig, fit
from diffusevae.training.stage_trainings import Training
from diffusevae.training.validation import validate_in_parts

SNAPSHOT_IMAGES = 20


@dataclass(frozen=True)
class TrainVAEConfig:
    """Length of the training, and the epochs whose pictures and codes are kept for figures."""

    epochs: PositiveCount
    snapshot_epochs: tuple[PositiveCount, ...]
    num_snapshot_codes: PositiveCount


def fit_vae(
    config: VAEConfig,
    optimiser: OptimiserConfig,
    train_images: Tensor,
    validation_images: Tensor,
    epochs: int,
    seed: int,
    callbacks: Callbacks,
    checkpointer: Checkpointer | None = None,
    group: Group = ALONE,
    labels: tuple[Tensor, Tensor] | None = None,
) -> tuple[VAE, History]:
    """Train a VAE on uint8 images (N x C x H x W, on the device to use); see `training.fit`.

    The noise of the validation images is the same in every epoch, so epochs compare. labels: the
    classes (N) of both, there too, of which the VAE is then told. Raises InputError for a VQ-VAE
    that several processes are to train.
    """
    _require_one_codebook(config, group)
    torch.manual_seed(seed_of(seed, "vae"))  # initial weights
    classes = 0 if labels is None else 1 + int(max(each.max() for each in labels))
    vae = VAE(config, train_images.shape[1:], classes).to(train_images.device)

    def noise(count: int, *keys: int | str) -> Tensor:
        rng = generator(seed, "vae", *keys, device=train_images.device)
        return draw_noise(vae, count, rng)

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor, ...]:
        drawn = noise(len(indices), epoch, batch)[rows]
        told = () if labels is None else (labels[0][indices[rows]],)
        return to_unit(train_images[indices[rows]]), drawn, *told

    def validate(model: VAE) -> dict[str, float]:
        def losses(part: slice, number: int) -> Losses:
            x = to_unit(validation_images[part])
            told = None if labels is None else labels[1][part]
            return vae_loss(model, x, noise(len(x), "validation", number), told)

        at_once = count_at_once(validation_images.shape[1:])
        return validate_in_parts(len(validation_images), losses, at_once=at_once)

    task = Fit(draw, vae_loss, validate, len(train_images))
    return fit(vae, optimiser, epochs, seed, task, callbacks, checkpointer, group)


def _require_one_codebook(config: VAEConfig, group: Group) -> None:
    if config.kind == "vq" and group.size > 1:
        raise InputError(
            f"vae.kind vq: {group.size} processes would each count its own use of the codebook; "
            "train it with DIFFUSEVAE_PROCESSES=1"
        )


def train_vae(
    params: SimpleNamespace, images: Tensor, held_out: Split, training: Training, group: Group
) -> tuple[VAE, History]:
    """Do so as the sections vae, vae_optimiser and train_vae say, with snapshots of its epochs."""
    config = params.train_vae

    def save_snapshot(path: Path, vae: VAE) -> None:
        shown = take_snapshot(vae, held_out, config.num_snapshot_codes, params.seed)
        save_tensors(path, shown)

    return fit_vae(
        params.vae,
        params.vae_optimiser,
        images,
        held_out.images.to(images.device),
        config.epochs,
        params.seed,
        training.callbacks(config.snapshot_epochs, save_snapshot),
        training.checkpointer,
        group,
    )


@torch.inference_mode()
def take_snapshot(vae: VAE, images: Split, num_codes: int, seed: int) -> dict[str, Tensor]:
    """Return what the figures show of an epoch, on the CPU.

    real, reconstruction, samples from N(0, I): n x C x H x W in [0,1]; mu (m x D) and labels (m)
    of the first num_codes images.
    """
    device = next(vae.parameters()).device
    shown = images.images[:SNAPSHOT_IMAGES].to(device)
    rng = generator(seed, "snapshot")  # of the CPU: the same on every device
    return {
        "real": to_unit(shown),
        "reconstruction": vae.reconstruct(to_unit(shown)),
        "samples": vae.sample_prior(SNAPSHOT_IMAGES, rng),
        "mu": encode_all(vae, images.images[:num_codes].to(device)).flatten(1),
        "labels": images.labels[:num_codes],
    }
