"""A GPU: its steps plain, captured and compiled, beside its matrix products and diffusers' UNet.

A training step is the product's own, as its stages take it, at several sizes of batch; samples are
drawn in 20 steps, alone and many at once. How steps run is told by DIFFUSEVAE_LAUNCH, as users tell
it. diffusers' UNet2DModel of the same size is trained in the same precision, compiled and captured
by the same functions, on batches that are ready-made. First turns, which compile, do not count.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from benchmarks import training
from benchmarks.measure import (
    Ratios,
    Side,
    Spread,
    clock,
    divide,
    show_table,
    take_turns,
    time_call,
)
from benchmarks.networks import Network, count_cost, find_product_unet, find_unets, find_vaes
from benchmarks.setting import IMAGE_SHAPE, Setting
from diffusevae.core.capture import Captured, compiled
from diffusevae.core.device import LAUNCH_VARIABLE, LAUNCHES, autocast, precision
from diffusevae.sampling.samplers import sample

BATCHES = (64, 128, 256)
SAMPLED = (1, 128, 512, 2000)  # images at once
NUM_STEPS = 20  # of a sampler
WARM_UP = 10  # training steps: some run plain, one is recorded, and the allocator comes to rest
MATRIX_SIZE, RUNS = 8192, 10


@dataclass(frozen=True)
class Work:
    """What is timed: its name, FLOPs of one step (or sample), and who does it, in seconds."""

    name: str
    title: str
    flops: float
    sides: dict[str, Callable[[], float]]


def measure(setting: Setting) -> Ratios:
    """Print times, rates and memory, where there is a GPU; return them by name."""
    if setting.device.type != "cuda":
        print("gpu: left out, there is no GPU here")
        return {}
    return measure_works(setting, BATCHES, SAMPLED, LAUNCHES, MATRIX_SIZE)


def measure_works(
    setting: Setting,
    batches: Sequence[int],
    sampled: Sequence[int],
    launches: Sequence[str],
    matrix_size: int,
) -> Ratios:
    """Do so on any device, with steps that run in these ways; diffusers' in the last of them."""
    ceiling = measure_matrix_product(setting.device, matrix_size)
    works = [
        *(make_training(setting, kind, n, launches) for kind in ("unet", "vae") for n in batches),
        *(make_sampling(setting, n, launches) for n in sampled),
    ]
    print(
        f"\nmatrix product, {matrix_size} x {matrix_size}, {precision(setting.device)}: "
        f"{ceiling} TFLOP/s (n = {RUNS})"
    )
    ratios: Ratios = {"gpu_matrix_product_tflops": ceiling}
    for work in works:
        ratios |= measure_work(setting, work, ceiling)
    return ratios


def measure_work(setting: Setting, work: Work, ceiling: Spread) -> Ratios:
    """Let the sides of a work take turns, print them as a table, and return its times by name."""
    if any("compiled" in how for how in work.sides):
        torch.compiler.reset()  # it compiles a function for a few shapes only
    peaks: dict[str, float] = {}
    sides = [Side(how, _watch(run, setting, peaks, how)) for how, run in work.sides.items()]
    turns = take_turns(sides, setting.repeats)
    ratios: Ratios = {}
    rows: list[Sequence[object]] = [("", "ms", "TFLOP/s", "of the matrix product", "MB")]
    for how, seconds in turns.items():
        times = Spread.of([1000 * s for s in seconds])
        rate = Spread.of([work.flops / s / 1e12 for s in seconds])
        share = rate.median / ceiling.median
        rows.append((how, times, rate, f"{share:.1%}", f"{peaks[how]:.0f}"))
        name = f"gpu_{work.name}_{how}".replace(" ", "_")
        ratios[f"{name}_ms"], ratios[f"{name}_tflops"] = times, rate
        ratios[f"{name}_mb"] = Spread.of([peaks[how]])
        if how.startswith("diffusers "):
            ours = turns[how.removeprefix("diffusers ")]
            ratios[f"gpu_{work.name}_vs_diffusers"] = divide(seconds, ours)
    show_table(f"{work.title} (n = {setting.repeats})", rows)
    return ratios


def measure_matrix_product(device: torch.device, size: int) -> Spread:
    """Return the TFLOP/s of a large matrix product, in the precision that networks compute in."""
    dtype = getattr(torch, precision(device))
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b
    seconds = [time_call(lambda: a @ b, device) for _ in range(RUNS)]
    return Spread.of([2 * size**3 / s / 1e12 for s in seconds])


def make_training(setting: Setting, kind: str, batch_size: int, launches: Sequence[str]) -> Work:
    """Return the training steps of the UNet or the VAE, and of the UNet also those of the peer."""
    networks = (find_unets if kind == "unet" else find_vaes)(setting)
    sized = _resize(setting, batch_size)
    sides = {how: _launch(how, lambda: time_training(sized, kind)) for how in launches}
    if kind == "unet" and "diffusers" in networks:
        peer, how = networks["diffusers"], launches[-1]
        sides[f"diffusers {how}"] = lambda: time_peer(setting, peer, batch_size, how)
    flops = count_cost(networks["product"], batch_size).flops * batch_size
    title = f"A training step, {kind}, batch {batch_size}"
    return Work(f"{kind}_training_{batch_size}", title, flops, sides)


def time_training(setting: Setting, kind: str) -> float:
    """Return the seconds of one of the product's training steps."""
    ends: list[float] = []
    done = itertools.count(1)

    def note() -> None:
        if next(done) in (WARM_UP, WARM_UP + setting.batches):  # between them nobody waits
            ends.append(clock(setting.device))

    more = WARM_UP - training.WARM_UP
    longer = dataclasses.replace(setting, batches=setting.batches + more)
    _, train = training.TRAININGS[kind]["product"]
    train(longer, find_product_unet(setting), note)
    return (ends[1] - ends[0]) / setting.batches


def time_peer(setting: Setting, network: Network, batch_size: int, launched: str) -> float:
    """Return the seconds of a training step of diffusers' UNet, launched as the product's is."""
    device = setting.device
    step = make_peer_step(setting, network.build(), launched)

    def take(count: int) -> None:
        for _ in range(count):
            t = torch.randint(setting.params.diffusion.num_timesteps, (batch_size,), device=device)
            step(images, torch.randn_like(images), t)

    images = torch.rand(batch_size, *IMAGE_SHAPE, device=device)
    take(WARM_UP)
    return time_call(lambda: take(setting.batches), device) / setting.batches


def make_peer_step(setting: Setting, unet: nn.Module, launched: str) -> Callable[..., Tensor]:
    """Return a step from images (B x C x H x W), noise and times (B) to its loss.

    It has what the product's has: clipped gradients, Adam in one kernel, averaged weights.
    """
    from benchmarks.schedulers import make_scheduler

    device, config = setting.device, setting.params.diffusion_optimiser
    unet = unet.to(device, memory_format=torch.channels_last)
    run = compiled(unet) if launched == "compiled" else unet
    scheduler = make_scheduler(setting.params.diffusion, "DDPMScheduler")
    weights = list(unet.parameters())
    averaged = [each.detach().clone() for each in weights]
    average = get_ema_multi_avg_fn(config.ema_decay)
    optimiser = torch.optim.AdamW(
        weights, lr=config.learning_rate, fused=True, capturable=device.type == "cuda"
    )

    def step(x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        x_t = scheduler.add_noise(x, noise, t).contiguous(memory_format=torch.channels_last)
        with autocast(device):
            predicted = run(x_t, t).sample.float()
        loss = F.mse_loss(predicted, noise)
        optimiser.zero_grad(set_to_none=False)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, config.gradient_clip_norm)
        optimiser.step()
        average(averaged, weights, 0)
        return loss.detach()

    return step if launched == "plain" else Captured(step)


def make_sampling(setting: Setting, count: int, launches: Sequence[str]) -> Work:
    """Return the drawing of `count` images at once, told for one of them."""
    network = find_product_unet(setting)
    config = dataclasses.replace(setting.params.sampler, num_steps=NUM_STEPS, batch_size=count)
    model = network.build().to(setting.device, memory_format=torch.channels_last)
    model.eval().requires_grad_(False)

    def draw() -> float:
        return time_call(lambda: sample(model, config, count, 0), setting.device) / count

    cost = count_cost(network, count, backward=False)
    sides = {how: _launch(how, draw) for how in launches}
    title = f"An image in {NUM_STEPS} steps, {count} at once"
    return Work(f"sample_{count}_at_once", title, cost.flops * NUM_STEPS, sides)


def _launch(how: str, run: Callable[[], float]) -> Callable[[], float]:
    def launched() -> float:
        with patch.dict(os.environ, {LAUNCH_VARIABLE: how}):
            return run()

    return launched


def _resize(setting: Setting, batch_size: int) -> Setting:
    """Return the setting with trainings of this batch size."""
    changed = {
        name: dataclasses.replace(getattr(setting.params, name), batch_size=batch_size)
        for name in ("vae_optimiser", "diffusion_optimiser")
    }
    params = SimpleNamespace(**(vars(setting.params) | changed))
    return dataclasses.replace(setting, params=params)


def _watch(
    run: Callable[[], float], setting: Setting, peaks: dict[str, float], how: str
) -> Callable[[], float]:
    """Return a run that also notes the most memory that tensors took in it, in MB; 0 on a CPU."""

    def watched() -> float:
        on_gpu = setting.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(setting.device)
        seconds = run()
        most = torch.cuda.max_memory_allocated(setting.device) / 1e6 if on_gpu else 0.0
        peaks[how] = max(peaks.get(how, 0.0), most)
        return seconds

    return watched
