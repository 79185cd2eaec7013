"""One step of a training, from the losses of a batch to the weights and their average.

It reads tensors alone: the batch, as its task has drawn it, and what `State.set_pace` has written.
So a GPU replays it as one CUDA graph.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from diffusevae.core.capture import Captured, compiled
from diffusevae.core.device import launch, strictly_deterministic
from diffusevae.training.distributed import Group
from diffusevae.training.training_state import State

LossesOf = Callable[..., Mapping[str, Tensor]]  # of a model and the tensors of a batch
Step = Callable[[tuple[Tensor, ...], int], None]


def make_step(
    state: State,
    losses_of: LossesOf,
    clip_norm: float,
    batch_size: int,
    num_images: int,
    group: Group,
    num_parts: int = 1,
) -> Step:
    """Return what takes a step from (the tensors of a batch, how many images the batch has).

    The batch passes the network in num_parts parts, all of which one step, and one graph, takes.

    Batches of batch_size images run as `launch` says for num_images, those of the whole training:
    plainly, captured or compiled as well. A smaller batch, the last of an epoch, runs plainly, and
    all of them do where several processes train, though compiled where that is said.
    """
    launched = launch(state.weights.device, num_images)
    fast = compiled(losses_of) if launched == "compiled" else losses_of
    whole: Callable[..., None] = partial(
        _take, state, fast, clip_norm, batch_size, num_parts, group
    )
    if launched != "plain" and group.size == 1:
        whole = Captured(whole)

    def take(batch: tuple[Tensor, ...], count: int) -> None:
        if count == batch_size:
            whole(*batch)
        else:
            _take(state, losses_of, clip_norm, count, num_parts, group, *batch)

    return take


def _take(
    state: State,
    losses_of: LossesOf,
    clip_norm: float,
    count: int,
    num_parts: int,
    group: Group,
    *batch: Tensor,
) -> None:
    """Take one step down the gradients, clipped, move the average along and add up the losses."""
    _, weight = group.shard(count)
    assert state.weights.grad is not None  # since `join_weights`
    state.weights.grad.zero_()
    means: dict[str, Tensor] = {}
    with strictly_deterministic(state.weights.device):
        for share, part in _split(batch, num_parts):
            of_part = losses_of(state.model, *part)
            losses = {name: loss * (weight * share) for name, loss in of_part.items()}
            losses["loss"].backward()
            for name, loss in losses.items():
                mean = loss.detach()
                means[name] = means[name] + mean if name in means else mean
    group.all_reduce([state.weights.grad, *means.values()])
    torch.nn.utils.clip_grad_norm_([state.weights], clip_norm)
    state.take_step()
    state.add_losses(means, count)


def _split(batch: tuple[Tensor, ...], num_parts: int) -> Iterable[tuple[float, tuple[Tensor, ...]]]:
    """Return a batch's rows in parts, each with its share of them: a few less where rows are."""
    if num_parts == 1:
        return [(1.0, batch)]
    rows = len(batch[0])
    size = -(-rows // num_parts)
    parts = zip(*(tensor.split(size) for tensor in batch), strict=True)
    return [(len(part[0]) / rows, part) for part in parts]
