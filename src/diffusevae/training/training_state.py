"""What a training consists of between two batches, and how a checkpoint holds it."""

import copy
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from diffusevae.training.adam import Adam

Model = TypeVar("Model", bound=nn.Module)


class State(Generic[Model]):
    """All that a training is made of at one moment between two batches."""

    def __init__(self, model: Model, learning_rate: float) -> None:
        # torch's stubs know no memory_format
        self.model: Model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema: Model = copy.deepcopy(model).eval().requires_grad_(False)
        self.weights, self.ema_weights = join_weights(model), join_weights(self.ema)
        self.buffers = list(zip(self.ema.buffers(), model.buffers(), strict=True))
        self.optimiser = Adam(self.weights, learning_rate)
        # 1 - decay of the average; a captured step reads it where it is.
        self.forgetting = torch.zeros((), device=self.weights.device)
        self.best, self.best_weights = math.inf, copy.deepcopy(self.ema.state_dict())
        self.history: list[dict[str, float]] = []
        self.epoch, self.batch, self.step = 1, 0, 0  # batch: of this epoch; step: of all
        self.totals: dict[str, Tensor] = {}  # of this epoch: each loss, summed over its images

    def set_pace(self, learning_rate: float, ema_decay: float) -> None:
        """Write what the next step goes by.

        The average warms up as min(ema_decay, (1 + step) / (10 + step)), so that early weights are
        forgotten fast.
        """
        self.optimiser.learning_rate.fill_(learning_rate)
        self.forgetting.fill_(1 - min(ema_decay, (1 + self.step) / (10 + self.step)))

    def take_step(self) -> None:
        """Take one step down the gradients, and move the average of the weights along."""
        self.optimiser.step()
        with torch.no_grad():
            self.ema_weights.lerp_(self.weights, self.forgetting)
            for mean, now in self.buffers:
                mean.copy_(now)

    def add_losses(self, means: Mapping[str, Tensor], count: int) -> None:
        """Add the mean losses of a batch of `count` images to the epoch's totals, in place."""
        for name, mean in means.items():
            if name not in self.totals:
                self.totals[name] = torch.zeros_like(mean)
            self.totals[name] += mean * count

    def end_epoch(self, row: dict[str, float]) -> None:
        """Keep the epoch's row, and its weights where they are the best so far."""
        self.history.append(row)
        if row["validation_loss"] < self.best:
            self.best = row["validation_loss"]
            self.best_weights = copy.deepcopy(self.ema.state_dict())
        self.epoch, self.batch = self.epoch + 1, 0
        for total in self.totals.values():
            total.zero_()

    def pack(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return it as tensors by name and as what JSON can hold."""
        parts = {
            "model": self.model.state_dict(),
            "averaged": self.ema.state_dict(),  # its name in checkpoints
            "best": self.best_weights,
            "totals": self.totals,
            "optimiser": self.optimiser.state,
        }
        tensors = {
            f"{part}/{name}": tensor
            for part, named in parts.items()
            for name, tensor in named.items()
        }
        # A file's tensors and facts are sorted by name; lists keep the columns in their order.
        history = [list(row.items()) for row in self.history]
        return tensors, {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "best": self.best,
            "history": history,
            "totals": list(self.totals),
        }

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over what `pack` returned."""
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for key, tensor in tensors.items():
            part, _, name = key.partition("/")
            parts[part][name] = tensor
        device = next(self.model.parameters()).device
        self.model.load_state_dict(parts["model"])
        self.ema.load_state_dict(parts["averaged"])
        self.best_weights = {name: tensor.to(device) for name, tensor in parts["best"].items()}
        self.totals = {name: parts["totals"][name].to(device) for name in facts["totals"]}
        self.optimiser.state = {
            name: value.to(device) for name, value in parts["optimiser"].items()
        }
        self.epoch, self.batch, self.step, self.best = (
            facts[name] for name in ("epoch", "batch", "step", "best")
        )
        self.history = [dict(row) for row in facts["history"]]


def join_weights(model: nn.Module) -> nn.Parameter:
    """Move all weights of a model into one vector, and where they are trained their gradients.

    The model's parameters become views of it, each in the memory format that it has: so a step of
    the optimiser, the norm and the average are one operation each, not one for each parameter.
    """
    parameters = list(model.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    vector = nn.Parameter(
        torch.cat(
            [
                p.detach().as_strided((size,), (1,))
                for p, size in zip(parameters, sizes, strict=True)
            ]
        )
    )
    for parameter, part in zip(parameters, vector.detach().split(sizes), strict=True):
        parameter.data = part.as_strided(parameter.shape, parameter.stride())
    if any(parameter.requires_grad for parameter in parameters):
        vector.grad = torch.zeros_like(vector)
        for parameter, part in zip(parameters, vector.grad.split(sizes), strict=True):
            parameter.grad = part.as_strided(parameter.shape, parameter.stride())
    return vector
