"""How cost grows: seconds over image size, channels, batch, steps and number of images.

One thing is varied at a time, all else is as in the experiment. Told is the seconds of each value,
and the exponent between least and greatest: 1 where cost grows in proportion, 0 where it does not
grow. The curves are drawn into reports/growth.png. Workers: `benchmarks.processes`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, ScalarFormatter

from benchmarks.measure import Ratios, Spread, clock, show_table, time_call
from benchmarks.setting import IMAGE_SHAPE, Setting
from diffusevae.figures.drawing import COLOURS, figure_style, label_axes, panels, save_figure
from diffusevae.metrics.paired import measure_pairs
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.sampling.samplers import sample
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Callbacks

PICTURE = Path("reports/growth.png")
BATCHES, WARM_UP = 4, 2
SAMPLED = 32  # images


@dataclass(frozen=True)
class Axis:
    """What is varied, over which values; of a value, the seconds of one `item`."""

    name: str
    values: Sequence[int]
    item: str
    measure: Callable[[int], float]


def measure(setting: Setting) -> Ratios:
    """Print and draw the seconds over each axis; return the exponents."""
    ratios: Ratios = {}
    curves: list[tuple[Axis, list[Spread]]] = []
    for axis in list_axes(setting):
        axis.measure(axis.values[0])  # warms up
        turns = [[axis.measure(value) for value in axis.values] for _ in range(setting.repeats)]
        seconds = [Spread.of(list(of_value)) for of_value in zip(*turns, strict=True)]
        span = math.log(axis.values[-1] / axis.values[0])
        exponent = Spread.of([math.log(turn[-1] / turn[0]) / span for turn in turns])
        show_table(
            f"{axis.item} over {axis.name} (n = {setting.repeats})",
            [
                (axis.name, "ms"),
                *(
                    (value, Spread.of([1000 * each[i] for each in turns]))
                    for i, value in enumerate(axis.values)
                ),
                ("exponent", exponent),
            ],
        )
        ratios[f"growth_with_{axis.name.replace(' ', '_')}_exponent"] = exponent
        curves.append((axis, seconds))
    PICTURE.parent.mkdir(exist_ok=True)
    with figure_style():
        save_figure(draw(curves), PICTURE)
    print(f"\n{PICTURE}")
    return ratios


def list_axes(setting: Setting) -> list[Axis]:
    """Return what is varied: around the experiment's own values."""
    params, side = setting.params, IMAGE_SHAPE[-1]
    width, batch = params.unet.base_channels, params.diffusion_optimiser.batch_size

    def train(side: int = side, width: int = width, batch: int = batch) -> float:
        return time_training(setting, side, width, batch)

    return [
        Axis(
            "image size",
            (side // 2, side, 2 * side),
            "training, one image",
            lambda value: train(side=value),
        ),
        Axis(
            "base channels",
            (width // 2, width, 2 * width, 4 * width),
            "training, one image",
            lambda value: train(width=value),
        ),
        Axis("batch size", (1, 4, 16, 64), "training, one image", lambda value: train(batch=value)),
        Axis(
            "training batches",
            (2, 4, 8, 16),
            "training, all of them",
            lambda value: time_training(setting, side, width, batch, value),
        ),
        Axis(
            "sampling steps",
            (1, 2, 5, 10, 20),
            "sampling, one image",
            lambda value: time_sampling(setting, value),
        ),
        Axis(
            "number of pairs",
            (250, 500, 1000, 2000),
            "paired metrics, all of them",
            lambda value: time_metrics(setting, value),
        ),
    ]


def time_training(setting: Setting, side: int, width: int, batch: int, batches: int = 0) -> float:
    """Return the seconds that an image takes in training; with `batches`, those of all of them."""
    params = setting.params
    shape = ((WARM_UP + (batches or BATCHES)) * batch, IMAGE_SHAPE[0], side, side)
    x = torch.randint(256, shape, dtype=torch.uint8, device=setting.device)
    ends: list[float] = []
    fit_diffusion(
        params.diffusion,
        replace(params.unet, base_channels=width),
        replace(params.diffusion_optimiser, batch_size=batch),
        Images(x),
        Images(x[:1]),
        1,
        0.0,
        0,
        Callbacks(on_batch=lambda *_: ends.append(clock(setting.device))),
    )
    seconds = ends[-1] - ends[WARM_UP - 1]
    return seconds if batches else seconds / (BATCHES * batch)


def time_sampling(setting: Setting, num_steps: int) -> float:
    """Return the seconds that an image takes to sample."""
    params = setting.params
    torch.manual_seed(0)
    model = DiffusionModel(params.diffusion, params.unet, IMAGE_SHAPE, False).eval()
    model = model.to(setting.device, memory_format=torch.channels_last)  # as load_diffusion does it
    config: SamplerConfig = replace(params.sampler, num_steps=num_steps)
    return time_call(lambda: sample(model, config, SAMPLED, 0), setting.device) / SAMPLED


def time_metrics(setting: Setting, count: int) -> float:
    """Return the seconds of the paired metrics of `count` pairs of images."""
    x, y = torch.rand(2, count, *IMAGE_SHAPE, device=setting.device)
    return time_call(lambda: measure_pairs(x, y), setting.device)


def draw(curves: Sequence[tuple[Axis, list[Spread]]]) -> Figure:
    """Return seconds over each axis, both logarithmic, dotted as they would grow in proportion."""
    rows = -(-len(curves) // 2)
    figure, grid = panels(rows, 2, 2.6 * rows)
    for axes, (axis, seconds) in zip(grid.flat, curves, strict=False):
        milliseconds = [1000 * each.median for each in seconds]
        errors = [
            [1000 * (each.median - each.least) for each in seconds],
            [1000 * (each.greatest - each.median) for each in seconds],
        ]
        axes.errorbar(
            axis.values,
            milliseconds,
            errors,
            color=COLOURS["diffusevae"],
            marker="o",
            label="measured: median, least and greatest",
        )
        if milliseconds[-1] > milliseconds[0]:
            axes.plot(
                axis.values,
                [milliseconds[0] * value / axis.values[0] for value in axis.values],
                ":",
                color=COLOURS["real"],
                label="in proportion",
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(axis.values, [str(value) for value in axis.values])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        label_axes(axes, axis.item, axis.name, "ms")
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
