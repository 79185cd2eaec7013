"""From x_t to the predicted x_0: on a GPU one CUDA graph for each size of batch."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from diffusevae.core.capture import Captured, compiled
from diffusevae.core.device import precision
from diffusevae.models.conditions import Hidden, tell_apart
from diffusevae.models.diffusion import DiffusionModel

Denoise = Callable[[Tensor, int], Tensor]  # from x_t and t to the predicted x_0
KEPT = 8  # graphs of a model: those used last


@dataclass(frozen=True)
class Way:
    """How x_0 is predicted: under which guidance, clipped or not, and launched how (`launch`)."""

    guidance: float
    hidden: Hidden
    clip: bool
    launched: str


def predict_x_0(
    model: DiffusionModel, x_t: Tensor, times: Tensor, conditions: Sequence[Tensor], way: Way
) -> Tensor:
    """Return the x_0 that a model predicts from x_t at the time (1) that all images have.

    Both are in the range of diffusion; conditions are what there is of x_hat in [0,1] and labels,
    in this order.
    """
    given = tell_apart(conditions, model.unet.conditional) if conditions else (None, None)
    output = model.network(x_t, times, *given, way.guidance, way.hidden)
    x_0, _ = model.split(x_t, times, output)
    return x_0.clamp(*model.x_0_bounds) if way.clip else x_0


def make_denoiser(
    model: DiffusionModel, conditions: Sequence[Tensor], count: int, way: Way
) -> Denoise:
    """Return what predicts x_0 for a batch of `count` images, under their conditions if any."""
    device = model.sqrt_noise.device
    if way.launched == "plain":
        step = _bind(model, way)
    else:
        with _ONE_AT_A_TIME:
            steps = _STEPS.setdefault(model, Steps(device))
            step = steps.find(model, [each.dtype for each in conditions], count, way)

    def denoise(x_t: Tensor, t: int) -> Tensor:
        times = torch.full((1,), t, device=device)
        if way.launched == "plain":
            return step(x_t, times, *conditions)
        with _ONE_AT_A_TIME:
            return step(x_t, times, *conditions).clone()

    return denoise


def send(drawn: Tensor, device: torch.device) -> Tensor:
    """Return what was drawn on the CPU on the device, to which it may still be on its way."""
    if device.type == "cuda":
        return drawn.pin_memory().to(device, non_blocking=True)
    return drawn.to(device)


class Steps:
    """The captured steps of one model, kept from one call to the next: the KEPT used last."""

    def __init__(self, device: torch.device) -> None:
        self.captured: OrderedDict[tuple, Captured[Tensor]] = OrderedDict()
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def find(
        self, model: DiffusionModel, given: Sequence[torch.dtype], count: int, way: Way
    ) -> Captured[Tensor]:
        """Return the step for batches of `count` images, a new one where there is none.

        given: the type of each condition, which tells x_hat from labels.
        """
        # A graph knows its weights by where they are: change them, but leave them in their place.
        places = tuple(weights.data_ptr() for weights in model.parameters())
        key = (count, tuple(given), way, precision(model.sqrt_noise.device), places)
        if key not in self.captured:
            self.captured[key] = Captured(_bind(model, way), self.pool)
        self.captured.move_to_end(key)
        if len(self.captured) > KEPT:
            self.captured.popitem(last=False)
        return self.captured[key]


_STEPS: WeakKeyDictionary[DiffusionModel, Steps] = WeakKeyDictionary()
_ONE_AT_A_TIME = threading.Lock()  # a server has several threads, a graph one set of tensors


def _bind(model: DiffusionModel, way: Way) -> Callable[..., Tensor]:
    """Return `predict_x_0` as a function of tensors, which does not keep the model alive."""
    found = ref(model)
    run = compiled(predict_x_0) if way.launched == "compiled" else predict_x_0

    def predict(x_t: Tensor, times: Tensor, *conditions: Tensor) -> Tensor:
        model = found()
        assert model is not None, "a step outlived its model"
        return run(model, x_t, times, conditions, way)

    return predict
