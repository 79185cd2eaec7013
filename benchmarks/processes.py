"""How much faster several processes train DiffuseVAE than one, on the machine at hand.

    torchrun --standalone --nproc-per-node 2 -m benchmarks.processes quickstart

Each process has one thread, as torchrun wants it. One process and all of them take turns, so that
other work on the machine slows both alike; the CPU seconds of one process do not depend on it at
all. The images are noise: time does not depend on what they show. The last line is JSON.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

import torch

from diffusevae.core.device import choose_device
from diffusevae.core.params import load_sections
from diffusevae.stages.train_diffusevae import ROOT, SECTIONS
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.distributed import ALONE, Group, join_group
from diffusevae.training.loop import Callbacks

BATCHES, WARM_UP, REPEATS = 12, 2, 7
IMAGE_SHAPE = (1, 32, 32)


def measure_training(params, images: Images, group: Group) -> tuple[float, float, int]:
    """Return images per second and per CPU second of this process, and the number of parameters.

    Of a group, the first process alone is called back and measures; the others return zeros.
    """
    ends = []

    def on_batch(*_: object) -> None:
        if images.x.is_cuda:
            torch.cuda.synchronize()
        ends.append((time.perf_counter(), time.process_time()))

    one = Images(images.x[:1], images.condition[:1])  # to validate on
    model, _ = fit_diffusion(
        params.diffusion,
        params.unet,
        params.diffusion_optimiser,
        images,
        one,
        1,
        0.0,
        0,
        Callbacks(on_batch=on_batch),
        None,
        group,
    )
    num_parameters = sum(p.numel() for p in model.parameters())
    if not group.is_first:
        return 0.0, 0.0, num_parameters
    measured = (BATCHES - WARM_UP) * params.diffusion_optimiser.batch_size
    seconds, cpu_seconds = (b - a for a, b in zip(ends[WARM_UP - 1], ends[-1], strict=True))
    return measured / seconds, measured / cpu_seconds, num_parameters


def measure_sum(count: int, group: Group, device: torch.device) -> float:
    """Return the milliseconds that it takes to sum `count` numbers over the processes."""
    numbers = [torch.zeros(count, device=device)]
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        group.all_reduce(numbers)
        float(numbers[0][0])  # waits for a GPU
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def spread(values: list[float]) -> dict[str, float]:
    """Return median, least and greatest."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def main(experiment: str) -> None:
    """Measure and, in the first process, print."""
    device = choose_device()
    together = join_group(device)
    params = load_sections(Path("params.yaml"), ROOT, experiment, SECTIONS)
    count = BATCHES * params.diffusion_optimiser.batch_size
    x = torch.randint(256, (count, *IMAGE_SHAPE), dtype=torch.uint8, device=device)
    images = Images(x, x.float() / 255)
    alone, shared, sums = [], [], []
    for _ in range(REPEATS):
        if together.is_first:
            alone.append(measure_training(params, images, ALONE))
        together.broadcast(None)  # the others wait here while the first one works alone
        shared.append(measure_training(params, images, together))
        num_parameters = shared[-1][2]
        sums.append(measure_sum(num_parameters, together, device))
    if not together.is_first:
        return
    ratios, cpu_ratios = ([b[i] / a[i] for a, b in zip(alone, shared, strict=True)] for i in (0, 1))
    for name, values in {"alone": alone, f"{together.size} together": shared}.items():
        print(f"{name}: {statistics.median(v[0] for v in values):.0f} images a second")
    for name, values in {"ratio": ratios, "ratio by CPU seconds": cpu_ratios}.items():
        print(f"{name}: {statistics.median(values):.2f}, {min(values):.2f} to {max(values):.2f}")
    print(
        json.dumps(
            {
                "experiment": experiment,
                "processes": together.size,
                "n": REPEATS,
                "device": str(device),
                "threads": torch.get_num_threads(),
                "load_average": round(os.getloadavg()[0], 1),
                "batch_size": params.diffusion_optimiser.batch_size,
                "parameters": num_parameters,
                "bytes_per_step": 4 * num_parameters,
                "sum_milliseconds": spread(sums),
                "images_per_second_alone": spread([rate for rate, *_ in alone]),
                "images_per_second": spread([rate for rate, *_ in shared]),
                "ratio": spread(ratios),
                "cpu_ratio": spread(cpu_ratios),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
