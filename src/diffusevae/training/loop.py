"""The training loop that every model shares: step, epoch, fit.

It does not print, plot or log: callers pass callbacks. Randomness depends on (seed, epoch, batch)
only. Images are chosen by index permutation; the caller draws the batch from its tensors. Several
processes can train together: each takes its shard of every batch (diffusevae.training.distributed).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Generic, Literal

import torch
from torch import Tensor

from diffusevae.core import interruption
from diffusevae.core.errors import Diverged, InputError
from diffusevae.core.params import PositiveCount, Range, Share
from diffusevae.core.randomness import generator, seed_of
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.distributed import ALONE, Group
from diffusevae.training.step import Step, make_step
from diffusevae.training.training_state import Model, State

History = list[dict[str, float]]  # see `fit`
Losses = dict[str, Tensor]  # "loss" is what is minimised; the others are reported beside it


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam with gradient clipping, a decay of the learning rate over the run, and weight averaging.

    ema_decay 0 keeps the raw weights. batch_size counts the images of a step: they pass the network
    in `accumulate` parts, whose gradients add up, so that a step needs the memory of one part.
    learning_rate_warmup: epochs, or a share of one, over which the rate rises; the decay follows.
    """

    learning_rate: Annotated[float, Range(1e-8, 10)]
    learning_rate_decay: Literal["none", "cosine"]
    batch_size: PositiveCount
    gradient_clip_norm: Annotated[float, Range(1e-6, 1e6)]
    ema_decay: Share
    accumulate: PositiveCount = 1
    learning_rate_warmup: Annotated[float, Range(0, 10_000)] = 0.0

    def __post_init__(self) -> None:
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate {self.accumulate}: a batch of {self.batch_size} images has no so many "
                f"parts; use at most {self.batch_size}"
            )

    def check_epochs(self, epochs: int) -> None:
        """Raise InputError where a training of so many epochs would not outlast its warm-up."""
        if self.learning_rate_warmup >= epochs:
            raise InputError(
                f"learning_rate_warmup {self.learning_rate_warmup:g}: a training has only {epochs} "
                "epochs; use less than that"
            )


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Callbacks(Generic[Model]):
    """Whom a training tells what, while it goes on.

    on_epoch gets (epoch, its row of the history, EMA model), on_batch (epoch, batches done, of
    how many, epochs in all), on_resume (history so far, epoch, batches of it that are done).
    """

    on_epoch: Callable[[int, dict[str, float], Model], None] = _nothing
    on_batch: Callable[[int, int, int, int], None] = _nothing
    on_resume: Callable[[list[dict[str, float]], int, int], None] = _nothing


@dataclass(frozen=True)
class Fit(Generic[Model]):
    """What `fit` reads besides the model: how to get a loss, and how to judge the EMA model.

    draw gets (indices of a batch's images, epoch, batch, rows) and returns the tensors of those
    rows alone, with the randomness that they have in the whole batch. losses gets (model, those
    tensors) and returns their mean losses; it reads nothing else that changes and waits for no
    number, for a GPU may have recorded it. Of validate's numbers "loss" ranks the epochs.
    in_parts: whether a batch may be taken in parts: its losses are the means of its images', and
    each tensor has a row for each. flips: an image's index is raised by num_images, for its mirror
    image, at random.
    """

    draw: Callable[[Tensor, int, int, slice], tuple[Tensor, ...]]
    losses: Callable[..., Losses]
    validate: Callable[[Model], dict[str, float]]
    num_images: int
    in_parts: bool = False
    flips: bool = False


def fit(
    model: Model,
    config: OptimiserConfig,
    epochs: int,
    seed: int,
    task: Fit[Model],
    callbacks: Callbacks[Model],
    checkpointer: Checkpointer | None = None,
    group: Group = ALONE,
) -> tuple[Model, History]:
    """Train `model` in place; return the EMA model of the best epoch and the history.

    The history has one row per epoch: epoch (from 1), train_<name> and validation_<name> of every
    loss. With `checkpointer` the training goes on from its last checkpoint, and ends with the same
    bytes as without an interruption; a signal ends it after a checkpoint at the next step. All
    processes of `group` get the same; the first one alone calls back, writes and reads checkpoints.
    Raises Diverged when a loss stops being finite, InputError for what the training cannot do.
    """
    _check(config, task, epochs)
    if not group.is_first:
        callbacks, checkpointer = Callbacks(), None
    state = State(model, config.learning_rate)
    sizes = config.batch_size, epochs * task.num_images
    step = make_step(
        state, task.losses, config.gradient_clip_norm, *sizes, group, config.accumulate
    )
    found = None if checkpointer is None else checkpointer.load()
    if (found := group.broadcast(found)) is not None:
        state.restore(*found)
        callbacks.on_resume(state.history, state.epoch, state.batch)
    with interruption.deferred():
        while state.epoch <= epochs:
            trained = _train_epoch(
                state, step, config, epochs, seed, task, callbacks, checkpointer, group
            )
            row = _judge_epoch(state, config, trained, task, callbacks, checkpointer)
            state.end_epoch(row)
            if checkpointer is not None:
                checkpointer.save(state.step, *state.pack())
            interruption.check()
    state.ema.load_state_dict(state.best_weights)
    return state.ema, state.history


def _check(config: OptimiserConfig, task: Fit, epochs: int) -> None:
    config.check_epochs(epochs)
    if config.accumulate > 1 and not task.in_parts:
        raise InputError(
            f"accumulate {config.accumulate}: this training's losses are of whole batches; set it "
            "to 1"
        )


def _train_epoch(
    state: State,
    step: Step,
    config: OptimiserConfig,
    epochs: int,
    seed: int,
    task: Fit,
    callbacks: Callbacks,
    checkpointer: Checkpointer | None,
    group: Group,
) -> dict[str, float]:
    """Go through the images once, or through what is left of them; return each loss's mean."""
    state.model.train()
    device = next(state.model.parameters()).device
    order = torch.randperm(task.num_images, generator=generator(seed, "order", state.epoch))
    batches = order.to(device).split(config.batch_size)
    while state.batch < len(batches):
        indices = batches[state.batch]
        if task.flips:
            indices = indices + task.num_images * _draw_flips(indices, seed, state)
        others = () if group.is_first else (group.rank,)
        torch.manual_seed(seed_of(seed, "dropout", state.step, *others))
        state.set_pace(_learning_rate(config, state.step, epochs, len(batches)), config.ema_decay)
        rows, _ = group.shard(len(indices))
        step(task.draw(indices, state.epoch, state.batch, rows), len(indices))
        state.batch, state.step = state.batch + 1, state.step + 1
        callbacks.on_batch(state.epoch, state.batch, len(batches), epochs)
        if checkpointer is not None and (checkpointer.is_due or interruption.is_asked()):
            _keep(state, config, checkpointer)
        interruption.check()
    return {name: float(total) / task.num_images for name, total in state.totals.items()}


def _judge_epoch(
    state: State,
    config: OptimiserConfig,
    trained: Mapping[str, float],
    task: Fit,
    callbacks: Callbacks,
    checkpointer: Checkpointer | None,
) -> dict[str, float]:
    """Return the epoch's row of the history, as `on_epoch` got it; a signal stops it at once."""
    try:
        with interruption.deferred(False):
            validated = task.validate(state.ema)
            row = {"epoch": state.epoch} | {f"train_{k}": v for k, v in trained.items()}
            row |= {f"validation_{k}": v for k, v in validated.items()}
            _check_finite(row, config, f"after epoch {state.epoch}")
            callbacks.on_epoch(state.epoch, row, state.ema)
            return row
    except interruption.Stopped:
        if checkpointer is not None:
            _keep(state, config, checkpointer)
        raise


def _keep(state: State, config: OptimiserConfig, checkpointer: Checkpointer) -> None:
    """Write a checkpoint within an epoch; raise Diverged before it takes a good one's place."""
    row = {f"train_{name}": float(total) for name, total in state.totals.items()}
    row["the largest weight"] = float(state.weights.detach().abs().max())
    _check_finite(row, config, f"in epoch {state.epoch}")
    checkpointer.save(state.step, *state.pack())


def _draw_flips(indices: Tensor, seed: int, state: State) -> Tensor:
    """Return for each image of a batch whether (1 or 0) it is mirrored."""
    rng = generator(seed, "flips", state.epoch, state.batch, device=indices.device)
    return torch.randint(2, indices.shape, generator=rng, device=indices.device)


def _learning_rate(config: OptimiserConfig, step: int, epochs: int, steps_of_epoch: int) -> float:
    """Return the learning rate of a step, from 0.

    The n steps of the warm-up have 1/n, 2/n .. 1 of it; what is left of the run is the decay's.
    """
    warmup = round(config.learning_rate_warmup * steps_of_epoch)
    if step < warmup:
        return config.learning_rate * ((step + 1) / warmup)
    if config.learning_rate_decay == "cosine":
        progress = (step - warmup) / (epochs * steps_of_epoch - warmup)
        return config.learning_rate * (0.5 * (1 + math.cos(math.pi * progress)))
    return config.learning_rate


def _check_finite(row: Mapping[str, float], config: OptimiserConfig, when: str) -> None:
    for name, value in row.items():
        if not math.isfinite(value):
            raise Diverged(
                f"training: {name} is {value} {when} at learning rate {config.learning_rate}; "
                "use a smaller learning_rate"
            )
