"""Layers of the product's own beside torch's, which compute the same: seconds forward and backward.

Shapes are those of the experiment's UNet and of its batches, in channels-last.
"""

import torch
from torch import Tensor, nn

from benchmarks.measure import Ratios, Side, divide, show_sides, take_turns, time_call
from benchmarks.networks import write_layer_plainly
from benchmarks.setting import IMAGE_SHAPE, Setting
from diffusevae.models.layers import Upsample
from diffusevae.models.normalisation import group_norm

RUNS = 10  # in a turn, after one that is not timed


def measure(setting: Setting) -> Ratios:
    """Print the seconds of each layer and its twin; return how many times faster ours is."""
    config, batch = setting.params.unet, setting.params.diffusion_optimiser.batch_size
    ratios: Ratios = {}
    for level, multiplier in enumerate(config.channel_multipliers):
        channels, side = config.base_channels * multiplier, IMAGE_SHAPE[-1] // 2**level
        ours = {"group_norm": group_norm(channels)}
        if level > 0:
            ours["upsample"] = Upsample(channels, channels)
        x = torch.randn(batch, channels, side, side, device=setting.device)
        for name, layer in ours.items():
            sides = [
                _make_side("product", layer, x),
                _make_side("torch", write_layer_plainly(layer), x),
            ]
            turns = take_turns(sides, setting.repeats)
            where = f"{channels}_channels_at_{side}"
            show_sides(f"{name}, {channels} channels at {side} x {side}", "run", sides, turns)
            ratios[f"{name}_{where}_vs_torch"] = divide(turns["torch"], turns["product"])
    return ratios


def _make_side(name: str, layer: nn.Module, x: Tensor) -> Side:
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    layer = layer.to(x.device, memory_format=torch.channels_last)
    gradient = torch.randn_like(layer(x))

    def run() -> None:
        torch.autograd.grad(layer(x), [x, *layer.parameters()], gradient)

    def time_runs() -> float:
        run()
        return time_call(lambda: [run() for _ in range(RUNS)], x.device) / RUNS

    return Side(name, time_runs)
