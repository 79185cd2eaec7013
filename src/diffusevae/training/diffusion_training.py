"""Training of the unconditional DDPM and of DiffuseVAE (docs/study.md, sections 3, 4 and 6)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffusevae.core.params import PositiveCount, Share
from diffusevae.core.randomness import generator, seed_of
from diffusevae.data.dataset import to_unit
from diffusevae.models.diffusion import DiffusionConfig, DiffusionModel, draw_noise
from diffusevae.models.unet import UNetConfig
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.distributed import ALONE, Group
from diffusevae.training.loop import Callbacks, Fit, Losses, OptimiserConfig, fit

VALIDATION_BATCH = 500  # images


@dataclass(frozen=True)
class TrainDiffusionConfig:
    """Length of the training, the epochs whose samples are kept, and how often x_hat is hidden."""

    epochs: PositiveCount
    snapshot_epochs: tuple[PositiveCount, ...]
    p_uncond: Share


@dataclass(frozen=True, eq=False)
class Images:
    """uint8 images N x C x H x W on the device to use, and their x_hat in [0,1] (None for DDPM)."""

    x: Tensor
    x_hat: Tensor | None = None

    @property
    def condition(self) -> Tensor:
        """x_hat, where there is one: DiffuseVAE's."""
        assert self.x_hat is not None
        return self.x_hat

    def at(self, indices: Tensor | slice) -> tuple[Tensor, Tensor | None]:
        """Return x and x_hat in [0,1] of some images."""
        return to_unit(self.x[indices]), None if self.x_hat is None else self.x_hat[indices]


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
) -> tuple[DiffusionModel, list[dict[str, float]]]:
    """Train a DDPM, or DiffuseVAE where the images come with x_hat; see `training.fit`.

    p_uncond is the share of images whose condition is hidden. Validation draws the same (t, eps)
    for an image in every epoch, so epochs compare
    (docs/study.md, section 11).
    """
    device = train.x.device
    torch.manual_seed(seed_of(seed, "diffusion"))  # initial weights
    conditional = train.x_hat is not None
    model = DiffusionModel(config, unet_config, train.x.shape[1:], conditional, p_uncond).to(device)

    def losses(
        model: DiffusionModel,
        images: Images,
        indices: Tensor | slice,
        rows: slice,
        *keys: int | str,
    ) -> Losses:
        x, x_hat = images.at(indices)
        rng = generator(seed, "diffusion", *keys, device=device)
        t, eps = draw_noise(x.shape, config.num_timesteps, rng)
        dropped = None
        if conditional and p_uncond > 0 and model.training:
            dropped = torch.rand(len(x), generator=rng, device=device) < p_uncond
        return model.losses(
            x[rows],
            t[rows],
            eps[rows],
            None if x_hat is None else x_hat[rows],
            None if dropped is None else dropped[rows],
        )

    def batch_loss(
        model: DiffusionModel, indices: Tensor, epoch: int, batch: int, rows: slice
    ) -> Losses:
        return losses(model, train, indices, rows, epoch, batch)

    @torch.inference_mode()
    def validate(model: DiffusionModel) -> dict[str, float]:
        totals: dict[str, float] = {}
        for start in range(0, len(validation.x), VALIDATION_BATCH):
            part = slice(start, min(start + VALIDATION_BATCH, len(validation.x)))
            of_part = losses(model, validation, part, slice(None), "validation", start)
            for name, loss in of_part.items():
                totals[name] = totals.get(name, 0.0) + float(loss) * (part.stop - start)
        return {name: total / len(validation.x) for name, total in totals.items()}

    task = Fit(batch_loss, validate, len(train.x))
    return fit(model, optimiser, epochs, seed, task, callbacks, checkpointer, group)
