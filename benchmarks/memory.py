"""Peak memory of training: what a process needs beyond what it had before it built the network.

Each training has a process of its own. On a GPU it is the greatest memory allocated there, on the
CPU the growth of the resident set, which Linux counts.
"""

import ctypes
import gc
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.measure import Ratios, Spread, divide, processes, show_table
from benchmarks.networks import Widths
from benchmarks.setting import Setting
from benchmarks.training import FINDERS, TRAININGS, WARM_UP, known_widths, prepare_training

PROCESSES = 3  # for each training
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"


def measure(setting: Setting) -> Ratios:
    """Print every training's peak memory; return how many times less ours needs."""
    ratios: Ratios = {}
    if setting.device.type == "cpu" and not CLEAR.exists():
        print("memory: left out, only Linux tells the peak of a process")
        return ratios
    for kind, find in FINDERS.items():
        networks = find(setting)
        names = [name for name, (package, _) in TRAININGS[kind].items() if package in networks]
        peaks: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(PROCESSES):
            for name in names:
                with processes([name]) as calls:
                    peaks[name].append(
                        calls[name](
                            measure_peak, setting, kind, name, known_widths(kind, name, networks)
                        )
                    )
        rows = [("", "MB"), *((name, Spread.of(values)) for name, values in peaks.items())]
        show_table(f"Peak memory of training, {kind} (n = {PROCESSES})", rows)
        for name in names:
            if name != "product":
                ratios[f"{kind}_training_memory_vs_{name}"] = divide(peaks[name], peaks["product"])
    return ratios


def measure_peak(setting: Setting, kind: str, name: str, known: dict[str, Widths]) -> float:
    """Return the MB that a training of a few batches needs at most; in a process of its own."""
    setting = replace(setting, batches=2)
    train, network = prepare_training(setting, kind, name, known)
    few = replace(setting, batches=1 - WARM_UP)  # loads what the training imports
    train(few, network, _nothing)
    gc.collect()
    if setting.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        train(setting, network, _nothing)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back, or it would count as there before
    CLEAR.write_text(RESET_PEAK)
    before = _read_status("VmRSS")
    train(setting, network, _nothing)
    return (_read_status("VmHWM") - before) / 1e6


def _read_status(key: str) -> float:
    """Return a number of bytes that Linux tells of this process."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return 1024 * float(line.split()[1])


def _nothing() -> None:
    pass
