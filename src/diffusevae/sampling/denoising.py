"""From x_t to the predicted x_0: on a GPU one CUDA graph for each size of batch."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from diffusevae.core.capture import Captured
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


def make_denoiser(
    model: DiffusionModel, condition: Tensor | None, count: int, guidance: float, clip: bool
) -> Denoise:
    """Return what predicts x_0 for a batch of `count` images, under their condition if any."""
    device = model.sqrt_noise.device
    if device.type == "cuda":
        return _replay(model, condition, count, guidance, clip)

    def denoise(x_t: Tensor, t: int) -> Tensor:
        times = torch.full((1,), t, device=device)
        return predict_x_0(model, x_t, times, condition, guidance, clip)

    return denoise


class Steps:
    """The captured steps of one model, kept from one call to the next: the KEPT used last."""

    def __init__(self, device: torch.device) -> None:
        self.captured: OrderedDict[tuple, Captured[Tensor]] = OrderedDict()
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def find(
        self, model: DiffusionModel, conditional: bool, count: int, guidance: float, clip: bool
    ) -> Captured[Tensor]:
        """Return the step for batches of `count` images, a new one where there is none."""
        # A graph knows its weights by where they are: change them, but leave them in their place.
        places = tuple(weights.data_ptr() for weights in model.parameters())
        exactness = precision(model.sqrt_noise.device)
        key = (count, conditional, guidance, clip, exactness, places)
        if key not in self.captured:
            self.captured[key] = Captured(_bind(model, guidance, clip), self.pool)
        self.captured.move_to_end(key)
        if len(self.captured) > KEPT:
            self.captured.popitem(last=False)
        return self.captured[key]


_STEPS: WeakKeyDictionary[DiffusionModel, Steps] = WeakKeyDictionary()
_ONE_AT_A_TIME = threading.Lock()  # a server has several threads, a graph one set of tensors


def _replay(
    model: DiffusionModel, condition: Tensor | None, count: int, guidance: float, clip: bool
) -> Denoise:
    """Return a denoiser that goes by the model's captured step."""
    device = model.sqrt_noise.device
    conditions = () if condition is None else (condition,)
    with _ONE_AT_A_TIME:
        steps = _STEPS.setdefault(model, Steps(device))
        step = steps.find(model, condition is not None, count, guidance, clip)

    def denoise(x_t: Tensor, t: int) -> Tensor:
        times = torch.full((1,), t, device=device)
        with _ONE_AT_A_TIME:
            return step(x_t, times, *conditions).clone()

    return denoise


def _bind(model: DiffusionModel, guidance: float, clip: bool) -> Callable[..., Tensor]:
    """Return `predict_x_0` as a function of tensors, which does not keep the model alive."""
    found = ref(model)

    def predict(x_t: Tensor, times: Tensor, condition: Tensor | None = None) -> Tensor:
        model = found()
        assert model is not None, "a step outlived its model"
        return predict_x_0(model, x_t, times, condition, guidance, clip)

    return predict
