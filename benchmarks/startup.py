"""Start-up: how long each stage's shell takes to import what it needs, beside `import torch`."""

import os
import re
import subprocess
import sys
import time
from collections import Counter

from benchmarks.measure import Ratios, Side, Spread, show_table, take_turns
from benchmarks.setting import Setting
from diffusevae.stages.names import ON_DEMAND, STAGES

TORCH = "import torch"
LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)")
NUM_NAMED = 5  # packages named for each stage


def measure(setting: Setting) -> Ratios:
    """Print each stage's seconds to import; return how many times those of torch they are."""
    programs = {"torch alone": TORCH} | {stage: import_stage(stage) for stage in STAGES + ON_DEMAND}
    sides = [
        Side(name, lambda program=program: run_python("-c", program)[0])
        for name, program in programs.items()
    ]
    turns = take_turns(sides, setting.repeats)
    alone = turns["torch alone"]
    rows = [("", "s", "s more than torch alone", "seconds by package, torch left out")]
    ratios: Ratios = {}
    for name, program in programs.items():
        more = Spread.of([a - b for a, b in zip(turns[name], alone, strict=True)])
        packages = sum_by_package(run_python("-X", "importtime", "-c", program)[1])
        named = ", ".join(
            f"{package} {seconds:.2f}"
            for package, seconds in packages.most_common()
            if package != "torch"
        )
        rows.append(
            (
                name,
                Spread.of(turns[name]),
                "" if name == "torch alone" else more,
                ", ".join(named.split(", ")[:NUM_NAMED]),
            )
        )
        if name != "torch alone":
            ratios[f"startup_{name}_seconds_more_than_torch"] = more
    show_table(f"Start-up (n = {setting.repeats})", rows)
    return ratios


def import_stage(stage: str) -> str:
    """Return the program that imports what `python -m diffusevae.stages` does for a stage."""
    return f"import diffusevae.stages.__main__, diffusevae.stages.{stage}"


def run_python(*arguments: str) -> tuple[float, str]:
    """Return the seconds that a Python of its own takes, and what it says to stderr."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True, env=os.environ
    )
    return time.perf_counter() - start, done.stderr


def sum_by_package(report: str) -> Counter[str]:
    """Return the seconds of python -X importtime by package: each module's own, without others'."""
    seconds: Counter[str] = Counter()
    for microseconds, module in LINE.findall(report):
        seconds[module.partition(".")[0]] += int(microseconds) / 1e6
    return seconds
