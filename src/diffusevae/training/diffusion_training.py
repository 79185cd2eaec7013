"""Training of the unconditional DDPM and of DiffuseVAE (docs/study.md, sections 3, 4 and 6)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor

from diffusevae.core.params import PositiveCount, Share
from diffusevae.core.randomness import generator, seed_of
from diffusevae.data.dataset import Split, add_mirrored, count_at_once, to_unit
from diffusevae.models.conditions import hide_some
from diffusevae.models.diffusion import DiffusionModel, draw_noise
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae import VAE, reconstruct_all
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.distributed import ALONE, Group
from diffusevae.training.loop import Callbacks, Fit, History, Losses, OptimiserConfig, fit
from diffusevae.training.stage_trainings import Training
from diffusevae.training.validation import validate_in_parts


@dataclass(frozen=True)
class TrainDiffusionConfig:
    """Length of the training, the epochs whose samples are kept, and how often x_hat is hidden."""

    epochs: PositiveCount
    snapshot_epochs: tuple[PositiveCount, ...]
    p_uncond: Share


# Of an experiment: what `train_diffusion` trains, and how.
SECTIONS = {
    "seed": int,
    "diffusion": DiffusionConfig,
    "unet": UNetConfig,
    "diffusion_optimiser": OptimiserConfig,
}


@dataclass(frozen=True, eq=False)
class Images:
    """uint8 images N x C x H x W on the device to use, and what the model is told of them.

    condition: their x_hat in [0,1], none for a DDPM; labels: N, where it is told their class.
    flips: of these 2 n images the latter n are the first ones mirrored, one of the two to be drawn.
    code_shape: of the code among the condition's channels that a network attends to (`UNet`).
    """

    x: Tensor
    condition: Tensor | None = None
    labels: Tensor | None = None
    flips: bool = False
    code_shape: tuple[int, ...] | None = None

    def at(self, indices: Tensor | slice) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return x and the condition in [0,1] of some images, and their labels."""
        condition, labels = (
            None if every is None else every[indices] for every in (self.condition, self.labels)
        )
        return to_unit(self.x[indices]), condition, labels

    @property
    def num_images(self) -> int:
        """How many there are, of which each may come mirrored."""
        return len(self.x) // 2 if self.flips else len(self.x)

    @cached_property
    def num_classes(self) -> int:
        """How many classes the model is told of, 0 where it is told no label."""
        return 0 if self.labels is None else 1 + int(self.labels.max())


def make_images(
    split: Split,
    unet: UNetConfig,
    device: torch.device,
    vae: VAE | None = None,
    flips: bool = False,
) -> Images:
    """Return a split's images with what the network is told of them: x_hat by a VAE, labels.

    With flips, those of the mirrored images too.
    """
    x, labels = split.images.to(device), split.labels.to(device)
    if flips:
        x, labels = add_mirrored(x), labels.repeat(2)
    x_hat = None if vae is None else reconstruct_all(vae, x)
    return Images(x, x_hat, labels if unet.labels else None, flips)


def fit_diffusion(
    config: DiffusionConfig,
    unet_config: UNetConfig,
    optimiser: OptimiserConfig,
    train: Images,
    validation: Images,
    epochs: int,
    p_uncond: float,
    seed: int,
    callbacks: Callbacks,
    checkpointer: Checkpointer | None = None,
    group: Group = ALONE,
) -> tuple[DiffusionModel, History]:
    """Train a DDPM, or DiffuseVAE where the images come with x_hat; see `training.fit`.

    p_uncond is the share of images whose condition, label or both are hidden. Validation draws the
    same (t, eps) for an image in every epoch, so epochs compare (docs/study.md, section 11).
    """
    device = train.x.device
    torch.manual_seed(seed_of(seed, "diffusion"))  # initial weights
    conditional = train.condition is not None
    told = None if train.condition is None else train.condition.shape[1]
    shape = train.x.shape[1:]
    known = train.num_classes, train.code_shape
    model = DiffusionModel(config, unet_config, shape, conditional, p_uncond, told, *known)
    model = model.to(device)

    def draw(indices: Tensor, epoch: int, batch: int, rows: slice) -> tuple[Tensor, ...]:
        rng = generator(seed, "diffusion", epoch, batch, device=device)
        drawn = _draw(train, indices, config.num_timesteps, p_uncond, rng)
        return tuple(tensor[rows] for tensor in drawn)

    def validate(model: DiffusionModel) -> dict[str, float]:
        def losses(part: slice, number: int) -> Losses:
            rng = generator(seed, "diffusion", "validation", part.start, device=device)
            return model.losses(*_draw(validation, part, config.num_timesteps, 0.0, rng))

        at_once = count_at_once(validation.x.shape[1:])
        return validate_in_parts(len(validation.x), losses, at_once=at_once)

    task = Fit(draw, DiffusionModel.losses, validate, train.num_images, True, train.flips)
    return fit(model, optimiser, epochs, seed, task, callbacks, checkpointer, group)


def train_diffusion(
    params: SimpleNamespace,
    length: TrainDiffusionConfig,
    train: Images,
    validation: Images,
    training: Training,
    group: Group,
    save: Callable[[Path, DiffusionModel], object],
) -> tuple[DiffusionModel, History]:
    """Do so as the sections diffusion, unet and diffusion_optimiser say; `save` writes snapshots.

    What the noise schedule leaves of an image at its end is said first, and what it is warned of.
    """
    schedule = params.diffusion.schedule
    training.log.message(f"terminal SNR of the noise schedule: {schedule.terminal_snr:.3g}")
    training.log.summary({"terminal_snr": schedule.terminal_snr})
    if warning := schedule.warning:
        training.log.message(warning)
    return fit_diffusion(
        params.diffusion,
        params.unet,
        params.diffusion_optimiser,
        train,
        validation,
        length.epochs,
        length.p_uncond,
        params.seed,
        training.callbacks(length.snapshot_epochs, save),
        training.checkpointer,
        group,
    )


def _draw(
    images: Images,
    indices: Tensor | slice,
    num_timesteps: int,
    p_uncond: float,
    rng: torch.Generator,
) -> tuple[Tensor, ...]:
    """Return what `DiffusionModel.losses` takes of some images: x, t, eps and the conditions."""
    x, condition, labels = images.at(indices)
    t, eps = draw_noise(x.shape, num_timesteps, rng)
    told = hide_some(condition, labels, images.num_classes, p_uncond, rng)
    return x, t, eps, *(each for each in told if each is not None)
