"""What the machine can do at most, and the share of it that the UNet's forward pass reaches.

The convolution ceiling is the rate at which the machine runs the UNet's own convolutions one after
another, each timed alone on its own shape, channels last, as the product runs them. What the
forward pass loses beyond that goes to norms, activations, attention and copies. Beside it stand the
best rate among those convolutions and that of matrix products: rates that narrow layers cannot
reach, whatever runs them.
"""

import statistics
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.measure import Ratios, Side, Turns, clock, divide, show_table, take_turns, time_call
from benchmarks.networks import TIME_STEP, Cost, Network, count_cost, find_product_unet
from benchmarks.setting import IMAGE_SHAPE, Setting
from diffusevae.models.layers import Upsample

MATRIX_SIZES = (512, 1024, 2048)  # on a GPU four times as large
COPIED_BYTES = 2**30
RUNS = 10  # of one shape in a turn, after one that is not timed


@dataclass(frozen=True)
class Shape:
    """A convolution as a network uses it: its settings and its input, B x C x h x w.

    `doubling`: it is that of an Upsample, with 4 x 4 products for each place of its input.
    """

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    input_shape: tuple[int, ...]
    doubling: bool = False

    @property
    def flops(self) -> int:
        """Two for each product: B x out x h' x w' x in x kernel^2 of them."""
        batch, _, height, width = self.input_shape
        if self.doubling:
            return 2 * batch * self.out_channels * height * width * self.in_channels * 4**2
        places = (height // self.stride) * (width // self.stride)
        return 2 * batch * self.out_channels * places * self.in_channels * self.kernel**2

    def __str__(self) -> str:
        how = "doubling" if self.doubling else f"stride {self.stride}"
        return (
            f"{self.in_channels} to {self.out_channels}, {self.kernel} x {self.kernel}, "
            f"{how}, at {self.input_shape[-2]} x {self.input_shape[-1]}"
        )


def measure(setting: Setting) -> Ratios:
    """Print the machine's rates and the UNet's; return the shares that its forward pass reaches."""
    network = find_product_unet(setting)
    batch_size = setting.params.diffusion_optimiser.batch_size
    shapes = list_convolutions(network, batch_size)
    sides = [
        *_matrix_sides(setting.device),
        _forward_side(setting, network, batch_size),
        *(_convolution_side(shape, setting.device) for shape in shapes),
    ]
    if setting.device.type == "cuda":
        sides.append(_copy_side(setting.device))
    turns = take_turns(sides, setting.repeats)
    _show(sides, turns, shapes)
    forward = [
        count_cost(network, batch_size, backward=False).flops * batch_size / seconds
        for seconds in turns["UNet forward"]
    ]
    rates = {shape: [shape.flops / s for s in turns[str(shape)]] for shape in shapes}
    best = max(rates.values(), key=statistics.median)
    flops = sum(shape.flops * count for shape, count in shapes.items())
    seconds = [
        sum(turns[str(shape)][i] * count for shape, count in shapes.items())
        for i in range(setting.repeats)
    ]
    matrices = [
        [2 * size**3 / s for s in turns[_name_matrix(size)]]
        for size in _matrix_sizes(setting.device)
    ]
    return {
        "unet_forward_share_of_best_convolution": divide(forward, best),
        "unet_forward_share_of_its_convolutions": divide(forward, [flops / s for s in seconds]),
        "unet_forward_share_of_matrix_product": divide(
            forward, max(matrices, key=statistics.median)
        ),
    }


def list_convolutions(network: Network, batch_size: int) -> Counter[Shape]:
    """Return the network's convolutions, each with how many of it there are; batch_size above 1."""
    found: Counter[Shape] = Counter()

    def note(layer: nn.Conv2d | Upsample, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        doubling = isinstance(layer, Upsample)
        conv = layer.conv if doubling else layer
        found[
            Shape(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size[0],
                conv.stride[0],
                tuple(inputs[0].shape),
                doubling,
            )
        ] += 1

    with torch.device("meta"), torch.no_grad():
        module = network.build()
        for layer in module.modules():  # an Upsample does not call its Conv2d
            if isinstance(layer, nn.Conv2d | Upsample):
                layer.register_forward_hook(note)
        network.run(module, torch.empty(batch_size, *IMAGE_SHAPE))
    return found


def _forward_side(setting: Setting, network: Network, batch_size: int) -> Side:
    model = network.build().to(setting.device, memory_format=torch.channels_last).eval()
    x = torch.randn(batch_size, *IMAGE_SHAPE, device=setting.device)
    x = x.contiguous(memory_format=torch.channels_last)
    t = torch.full((1,), TIME_STEP, device=setting.device)  # one for all, as the samplers do it
    cost = count_cost(network, batch_size, backward=False)
    return Side(
        "UNet forward",
        lambda: _time_runs(lambda: model.unet(x, t), setting.device),
        Cost(cost.parameters, cost.flops * batch_size),
    )


def _convolution_side(shape: Shape, device: torch.device) -> Side:
    if shape.doubling:
        conv = Upsample(shape.in_channels, shape.out_channels)
    else:
        conv = nn.Conv2d(
            shape.in_channels,
            shape.out_channels,
            shape.kernel,
            shape.stride,
            padding=shape.kernel // 2,
        )
    conv = conv.to(device, memory_format=torch.channels_last)
    x = torch.randn(shape.input_shape, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    return Side(str(shape), lambda: _time_runs(lambda: conv(x), device), Cost(0, shape.flops))


def _matrix_sides(device: torch.device) -> list[Side]:
    def side(size: int) -> Side:
        a, b = (torch.randn(size, size, device=device) for _ in range(2))
        return Side(
            _name_matrix(size), lambda: _time_runs(lambda: a @ b, device), Cost(0, 2 * size**3)
        )

    return [side(size) for size in _matrix_sizes(device)]


def _copy_side(device: torch.device) -> Side:
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Side("copy", lambda: _time_runs(lambda: target.copy_(source), device))


def _matrix_sizes(device: torch.device) -> tuple[int, ...]:
    return tuple(size * (4 if device.type == "cuda" else 1) for size in MATRIX_SIZES)


def _name_matrix(size: int) -> str:
    return f"matrices {size} x {size}"


@torch.inference_mode()
def _time_runs(run, device: torch.device) -> float:
    """Return the seconds of the fastest of RUNS: other work on the machine can only add to them."""
    run()
    clock(device)
    return min(time_call(run, device) for _ in range(RUNS))


def _show(sides: list[Side], turns: Turns, shapes: Counter[Shape]) -> None:
    counts = {str(shape): count for shape, count in shapes.items()}
    rows = [("", "times", "MFLOP", "GFLOP/s")]
    for side in sides:
        seconds = statistics.median(turns[side.name])
        if side.cost is None:
            rows.append((side.name, "", "", f"{2 * COPIED_BYTES / seconds / 1e9:.0f} GB/s"))
            continue
        rows.append(
            (
                side.name,
                counts.get(side.name, ""),
                f"{side.cost.flops / 1e6:.1f}",
                f"{side.cost.flops / seconds / 1e9:.1f}",
            )
        )
    show_table(f"Ceilings, float32, medians of {len(turns[sides[0].name])} turns", rows)
