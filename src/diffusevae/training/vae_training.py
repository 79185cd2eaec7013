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
from diffusevae.data.dataset import Split, add_mirrored, count_at_once, to_unit
from diffusevae.models.code_use import kl_by_number, measure_use
from diffusevae.models.vae import VAE, VAEConfig, encode_posteriors
from diffusevae.models.vae_config import Kind
from diffusevae.models.vae_losses import draw_noise, vae_loss
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.distributed import ALONE, Group
from diffusevae.training.loop import Callbacks, Fit, History, Losses, OptimiserConfig, fit
from diffusevae.training.stage_trainings import Training
from diffusevae.training.validation import validate_in_parts

SNAPSHOT_IMAGES = 20
DRAWN_IMAGES = 500  # new ones of an epoch, for a distance: more than a classifier has features


@dataclass(frozen=True)
class TrainVAEConfig:
    """Length of the training, and the epochs whose pictures and codes are kept for figures."""

    epochs: PositiveCount
    snapshot_epochs: tuple[PositiveCount, ...]
    num_snapshot_codes: PositiveCount


def check_parts(optimiser: OptimiserConfig, kind: Kind) -> None:
    """Raise InputError where a codebook would see batches in parts."""
    if optimiser.accumulate > 1 and kind == "vq":
        raise InputError(
            f"vae_optimiser.accumulate {optimiser.accumulate}: the codebook of vae.kind vq follows "
            "whole batches; set it to 1"
        )


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
    flips: bool = False,
) -> tuple[VAE, History]:
    """Train a VAE on uint8 images (N x C x H x W, on the device to use); see `training.fit`.

    The noise of validation images is the same in every epoch, so epochs compare. labels: classes
    (N) of both, there too, that the VAE is told. flips: training images are mirrored at random.
    Raises InputError for a codebook that would not see whole batches.
    """
    _require_one_codebook(config, optimiser, group)
    torch.manual_seed(seed_of(seed, "vae"))  # initial weights
    classes = 0 if labels is None else 1 + int(max(each.max() for each in labels))
    device = train_images.device
    vae = VAE(config, train_images.shape[1:], classes).to(device)
    shown = add_mirrored(train_images) if flips else train_images
    known = None if labels is None else labels[0].repeat(2 if flips else 1)

    def noise(count: int, *keys: int | str) -> Tensor:
        return draw_noise(vae, count, generator(seed, "vae", *keys, device=device))

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor, ...]:
        drawn = noise(len(indices), epoch, batch)[rows]
        indices = indices[rows]
        return to_unit(shown[indices]), drawn, *(() if known is None else (known[indices],))

    def validate(model: VAE) -> dict[str, float]:
        def losses(part: slice, number: int) -> Losses:
            x, told = to_unit(validation_images[part]), labels and labels[1][part]
            return vae_loss(model, x, noise(len(x), "validation", number), told)

        at_once = count_at_once(validation_images.shape[1:])
        return validate_in_parts(len(validation_images), losses, at_once=at_once)

    task = Fit(draw, vae_loss, validate, len(train_images), config.kind != "vq", flips)
    return fit(vae, optimiser, epochs, seed, task, callbacks, checkpointer, group)


def _require_one_codebook(config: VAEConfig, optimiser: OptimiserConfig, group: Group) -> None:
    check_parts(optimiser, config.kind)
    if config.kind == "vq" and group.size > 1:
        raise InputError(
            f"vae.kind vq: {group.size} processes would each count its own use of the codebook; "
            "train it with DIFFUSEVAE_PROCESSES=1"
        )


def train_vae(
    params: SimpleNamespace,
    images: Tensor,
    held_out: Split,
    training: Training,
    group: Group,
    flips: bool = False,
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
        flips=flips,
    )


@torch.inference_mode()
def take_snapshot(vae: VAE, images: Split, num_codes: int, seed: int) -> dict[str, Tensor]:
    """Return what the figures show of an epoch, on the CPU.

    real, reconstruction, samples from N(0, I): n x C x H x W in [0,1]; mu (m x D) and labels (m)
    of the first num_codes images, and of a Gaussian code the mean KL of each number: kl (D).
    drawn: new images from N(0, I) for a distance, uint8, from the same codes in every epoch.
    """
    device = next(vae.parameters()).device
    shown = images.images[:SNAPSHOT_IMAGES].to(device)
    rng = generator(seed, "snapshot")  # of the CPU: the same on every device
    mu, logvar = encode_posteriors(vae, images.images[:num_codes].to(device))
    kl = {"kl": kl_by_number(mu, logvar)} if vae.config.kind == "gaussian" else {}
    return kl | {
        "real": to_unit(shown),
        "reconstruction": vae.reconstruct(to_unit(shown)),
        "samples": vae.sample_prior(SNAPSHOT_IMAGES, rng),
        "drawn": _draw_images(vae, generator(seed, "snapshot", "drawn")),
        "mu": mu.flatten(1),
        "labels": images.labels[:num_codes],
    }


def _draw_images(vae: VAE, rng: torch.Generator) -> Tensor:
    """Return DRAWN_IMAGES images decoded from N(0, I), uint8 n x C x H x W."""
    at_once = count_at_once(vae.image_shape)
    parts = [
        vae.sample_prior(min(at_once, DRAWN_IMAGES - start), rng)
        for start in range(0, DRAWN_IMAGES, at_once)
    ]
    return (255 * torch.cat(parts)).round().to(torch.uint8)


@torch.inference_mode()
def log_use_of_code(vae: VAE, images: Tensor, training: Training) -> None:
    """Tell the logger how much of a Gaussian code is in use on uint8 images (`measure_use`)."""
    if vae.config.kind != "gaussian" or len(images) < 2:
        return
    use = measure_use(*encode_posteriors(vae, images))
    training.log.message(
        f"{use['active_units']} of {use['latent_numbers']} latent numbers are active, KL of one: "
        f"median {use['kl_per_number_median']:.3g} nats"
    )
    training.log.summary(use)
