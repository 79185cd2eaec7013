"""Everything measured in one run, beside public peers; the last line is one JSON object.

A ratio says how many times faster (or smaller) ours is, but where its name says otherwise. The JSON
holds the medians by name. Topics that need an experiment's results say so where there are none.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence

import torch

from benchmarks import (
    ceilings,
    evaluation,
    gpu,
    growth,
    layers,
    load,
    memory,
    overhead,
    precision,
    sampling,
    schedule,
    startup,
    training,
)
from benchmarks.measure import Ratios, show_ratios
from benchmarks.setting import choose_setting, describe
from diffusevae.core.errors import InputError
from diffusevae.core.wording import suggest

TOPICS = {
    "ceilings": ceilings,
    "layers": layers,
    "training": training,
    "memory": memory,
    "precision": precision,
    "sampling": sampling,
    "evaluation": evaluation,
    "startup": startup,
    "overhead": overhead,
    "schedule": schedule,
    "growth": growth,
    "load": load,
    "gpu": gpu,
}
TARGETS = {
    "unet_training_vs_fastest_peer": "at least 1.3",
    "vae_training_vs_fastest_peer": "at least 1.3",
    "sampling_vs_all_steps": "at least 40",
    "sampling_vs_fastest_peer": "at least 2",
    "diffusevae_sampling_vs_fastest_peer": "at least 2",
    "unet_forward_share_of_its_convolutions": "at least 0.8",
    "smoke_flow_vs_bare": "at most 1.5",
    "overhead_seconds_per_stage": "at most 4",
    "rerun_with_nothing_to_do_seconds": "at most 60",
    "slot_to_first_stage_seconds": "at most 20",
    "rerun_with_a_full_store_vs_empty": "at most 1.5",
    "gpu_unet_training_64_compiled_ms": "at most 8",
    "gpu_unet_training_256_compiled_ms": "at most 14",
    "gpu_unet_training_256_vs_diffusers": "at least 1.3",
    "gpu_vae_training_128_compiled_ms": "at most 6",
    "gpu_sample_1_at_once_compiled_ms": "at most 40",
    "gpu_sample_512_at_once_compiled_ms": "at most 0.25",
}
STARTUP_TARGET = "at most 2.5"
REPEATS = 5


def measure(topics: Sequence[str], experiment: str, repeats: int) -> int:
    """Measure the topics named, else all of them; return the exit code. Raises InputError.

    Whoever reads no further (`| head`) ends it: there is nothing but what it says.
    """
    try:
        _measure(topics, experiment, repeats)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to flush
        return 128 + signal.SIGPIPE


def _measure(topics: Sequence[str], experiment: str, repeats: int) -> None:
    for topic in topics:
        if topic not in TOPICS:
            raise InputError(f"topic {topic!r}: there is none; {suggest(topic, TOPICS)}")
    setting = choose_setting(experiment, repeats)
    print(describe(setting), flush=True)
    ratios: Ratios = {}
    for topic in topics or TOPICS:
        ratios |= TOPICS[topic].measure(setting)
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()
    targets = TARGETS | {name: STARTUP_TARGET for name in ratios if name.startswith("startup_")}
    show_ratios(ratios, targets)
    print(f"\nload average at the end, our own threads included: {os.getloadavg()[0]:.1f}")
    print(json.dumps({name: round(ratio.median, 4) for name, ratio in ratios.items()}))
