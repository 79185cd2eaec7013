"""The training loop that every model shares: step, epoch, fit.

It does not print, plot, log or save: callers pass callbacks. Randomness depends on (seed, epoch,
batch) only. Images are chosen by index permutation; the caller's batch loss indexes its tensors.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from diffusevae.errors import InputError
from diffusevae.params import PositiveCount, Range, Share
from diffusevae.randomness import generator

Losses = dict[str, Tensor]  # "loss" is what is minimised; the others are reported beside it


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam with gradient clipping, a decay of the learning rate over the run, and weight averaging.

    ema_decay 0 keeps the raw weights. batch_size counts images.
    """

    learning_rate: Annotated[float, Range(1e-8, 10)]
    learning_rate_decay: Literal["none", "cosine"]
    batch_size: PositiveCount
    gradient_clip_norm: Annotated[float, Range(1e-6, 1e6)]
    ema_decay: Share


@dataclass(frozen=True)
class Fit:
    """What `fit` reads besides the model: how to get a loss, how to judge it, whom to tell."""

    batch_loss: Callable[[nn.Module, Tensor, int, int], Losses]  # (model, indices, epoch, batch)
    validate: Callable[[nn.Module], dict[str, float]]  # of the averaged model; "loss" ranks epochs
    num_images: int
    on_epoch: Callable[[int, dict[str, float], nn.Module], None]  # (epoch, history row, model)
    on_batch: Callable[[int, int, int], None] = lambda epoch, done, total: None


def fit(
    model: nn.Module, optimiser_config: OptimiserConfig, epochs: int, seed: int, task: Fit
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train `model` in place; return the averaged model of the best epoch and the history.

    The history has one row per epoch: epoch (from 1), train_<name> and validation_<name> of every
    loss. Raises InputError when a loss stops being finite.
    """
    model.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    optimiser = torch.optim.Adam(model.parameters(), lr=optimiser_config.learning_rate, fused=True)
    steps = epochs * math.ceil(task.num_images / optimiser_config.batch_size)
    history: list[dict[str, float]] = []
    best, best_state = math.inf, copy.deepcopy(averaged.state_dict())
    for epoch in range(1, epochs + 1):
        trained = _train_epoch(model, averaged, optimiser, optimiser_config, steps, epoch, seed,
                               task)  # fmt: skip
        validated = task.validate(averaged)
        row = {"epoch": epoch} | {f"train_{k}": v for k, v in trained.items()}
        row |= {f"validation_{k}": v for k, v in validated.items()}
        _check_finite(row, optimiser_config)
        history.append(row)
        if validated["loss"] < best:
            best, best_state = validated["loss"], copy.deepcopy(averaged.state_dict())
        task.on_epoch(epoch, row, averaged)
    averaged.load_state_dict(best_state)
    return averaged, history


def _train_epoch(
    model: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer,
    config: OptimiserConfig, steps: int, epoch: int, seed: int, task: Fit,
) -> dict[str, float]:  # fmt: skip
    """Return the mean of each loss over the images of one epoch."""
    model.train()
    device = next(model.parameters()).device
    permutation = torch.randperm(task.num_images, generator=generator(seed, "order", epoch))
    batches = permutation.to(device).split(config.batch_size)
    totals: dict[str, Tensor] = {}
    for batch, indices in enumerate(batches):
        step = (epoch - 1) * len(batches) + batch
        _set_learning_rate(optimiser, config, step / steps)
        losses = task.batch_loss(model, indices, epoch, batch)
        train_step(model, averaged, optimiser, losses["loss"], config, step)
        for name, loss in losses.items():
            totals[name] = totals.get(name, 0) + loss.detach() * len(indices)
        task.on_batch(epoch, batch + 1, len(batches))
    return {name: float(total) / task.num_images for name, total in totals.items()}


def train_step(
    model: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor,
    config: OptimiserConfig, step: int,
) -> None:  # fmt: skip
    """Take one step down the loss with clipped gradients and move the averaged weights along.

    The average warms up as min(ema_decay, (1 + step) / (10 + step)), so that early weights are
    forgotten fast.
    """
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip_norm)
    optimiser.step()
    decay = min(config.ema_decay, (1 + step) / (10 + step))
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)
        for mean, now in zip(averaged.buffers(), model.buffers(), strict=True):
            mean.copy_(now)


def _set_learning_rate(
    optimiser: torch.optim.Optimizer, config: OptimiserConfig, progress: float
) -> None:
    """Set the learning rate for progress in [0,1) through the whole run."""
    factor = 1.0
    if config.learning_rate_decay == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * progress))
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * factor


def _check_finite(row: dict[str, float], config: OptimiserConfig) -> None:
    for name, value in row.items():
        if not math.isfinite(value):
            raise InputError(f"training: {name} is {value} after epoch {row['epoch']} at learning "
                             f"rate {config.learning_rate}; use a smaller learning_rate")
