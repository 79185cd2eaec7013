"""From x_t to the predicted x_0: on a GPU one CUDA graph for each size of batch."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from diffusevae.core.capture import Captured, compiled
from diffusevae.core.device import precision
from diffusevae.models.diffusion import DiffusionModel

Denoise = Callable[[Tensor, int], Tensor]  # from x_t and t to the predicted x_0
KEPT = 8  # graphs of a model: those used last


def predict_x_0(
    model: DiffusionModel,
    x_t: Tensor,
    times: Tensor,
    condition: Tensor | None,
    guidance: float,
    clip: bool,
) -> Tensor:
    """Return the x_0 that a model predicts from x_t at the time (1) that all images have.

    Both are in the range of diffusion, the condition in [0,1]; `clip` keeps x_0 in its range.
    """
    output = model.network(x_t, times, condition, guidance)
    x_0, _ = model.split(x_t, times, output)
    return x_0.clamp(*model.x_0_bounds) if clip else x_0


@dataclass(frozen=True)
class Way:
    """How x_0 is predicted: under which guidance, clipped or not, and launched how (`launch`)."""

    guidance: float
    clip: bool
    launched: str


def make_denoiser(model: DiffusionModel, condition: Tensor | None, count: int, way: Way) -> Denoise:
    """Return what predicts x_0 for a batch of `count` images, under their condition if any."""
    device = model.sqrt_noise.device
    conditions = () if condition is None else (condition,)
    if way.launched == "plain":
        step = _bind(model, way)
    else:
        with _ONE_AT_A_TIME:
            steps = _STEPS.setdefault(model, Steps(device))
            step = steps.find(model, condition is not None, count, way)

    def denoise(x_t: Tensor, t: int) -> Tensor:
        times = torch.full((1,), t, device=device)
        if way.launched == "plain":
            return step(x_t, times, *conditions)
        with _ONE_AT_A_TIME:
            return step(x_t, times, *conditions).clone()

    return denoise


class Steps:
    """The captured steps of one model, kept from one call to the next: the KEPT used last."""

    def __init__(self, device: torch.device) -> None:
        self.captured: OrderedDict[tuple, Captured[Tensor]] = OrderedDict()
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def find(
        self, model: DiffusionModel, conditional: bool, count: int, way: Way
    ) -> Captured[Tensor]:
        """Return the step for batches of `count` images, a new one where there is none."""
        # A graph knows its weights by where they are: change them, but leave them in their place.
        places = tuple(weights.data_ptr() for weights in model.parameters())
        key = (count, conditional, way, precision(model.sqrt_noise.device), places)
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

    def predict(x_t: Tensor, times: Tensor, condition: Tensor | None = None) -> Tensor:
        model = found()
        assert model is not None, "a step outlived its model"
        return run(model, x_t, times, condition, way.guidance, way.clip)

    return predict
