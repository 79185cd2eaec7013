"""Processes that train one model together, each with its shard of every batch.

torchrun starts them, and says in the environment who is who. Gradients and losses are summed over
all of them, so the result is that of one process with the same batches, up to rounding; dropout
masks alone are each process's own.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor

from diffusevae.core.errors import InputError

OF_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Group:
    """This process among those that train together: its rank, from 0, and how many they are."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that speaks and writes for all."""
        return self.rank == 0

    def shard(self, count: int) -> tuple[slice, float]:
        """Return this process's rows of a batch of `count`, and their weight in the batch's mean.

        Where none is left for it, that is row 0 with weight 0: its gradients are zeros, not NaN.
        """
        rows = range(self.rank, count, self.size)
        if not rows:
            return slice(0, 1), 0.0
        return slice(self.rank, None, self.size), len(rows) / count

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one message."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        sums = flat.split([tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total.view(tensor.shape))

    def broadcast(self, value: Value) -> Value:
        """Return the first process's value in all of them."""
        values = [value]
        if self.size > 1:
            torch.distributed.broadcast_object_list(values, src=0)
        return values[0]


ALONE = Group()


def join_group(device: torch.device) -> Group:
    """Meet the other processes that torchrun started; return ALONE where it started none.

    On a GPU each process takes its own: from here on "cuda" means that one. Raises InputError where
    the environment is only in part torchrun's.
    """
    if not torch.distributed.is_torchelastic_launched():
        return ALONE
    if missing := [name for name in OF_TORCHRUN if not os.environ.get(name)]:
        raise InputError(
            f"{', '.join(missing)}: not set, and TORCHELASTIC_RUN_ID is; start by "
            "torchrun, which sets all, or unset TORCHELASTIC_RUN_ID"
        )
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Group(torch.distributed.get_rank(), torch.distributed.get_world_size())
