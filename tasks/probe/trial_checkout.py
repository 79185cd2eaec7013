"""A folder in which one stage at a time is run and measured, with nothing of the user's touched."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ruamel.yaml import YAML

import diffusevae
from diffusevae.core.disk import make_private
from diffusevae.core.parent import PARENT_VARIABLE
from diffusevae.core.yaml_file import read_yaml
from diffusevae.experiments.experiment import RAW, Experiment
from diffusevae.sources.pinned import ASSETS
from diffusevae.tracking.stage_logger import GPU_MEMORY, TIMINGS
from tasks.dvc.failure import explain_stage
from tasks.probe.cost import Cost
from tasks.probe.warm_process import WarmProcess

ROOT = Path(__file__).parents[2]
OWN_SERVICES = ("MLFLOW_TRACKING_URI", "DIFFUSEVAE_OPTUNA_STORAGE", "DVC_STAGE")


def make_folder(folder: Path) -> None:
    """Make a folder in which stages can run, with downloads kept where the checkout keeps them."""
    make_private(folder / "scratch")
    for made in (folder / "data", Path("scratch/downloads")):
        made.mkdir(parents=True, exist_ok=True)
    (folder / "scratch/downloads").symlink_to(Path("scratch/downloads").absolute())


def make_checkout(
    folder: Path, experiment: Experiment, dataset: Mapping, sections: Mapping
) -> Path:
    """Make a folder in which stages of an experiment can run, with these params."""
    make_folder(folder)
    with open(folder / "params.yaml", "w") as file:
        YAML().dump(
            {
                "datasets": {experiment.dataset: dict(dataset)},
                "experiments": {experiment.name: dict(sections)},
            },
            file,
        )
    return folder


def link_images(checkout: Path, experiment: Experiment) -> None:
    """Let a checkout find a folder of the user's own images."""
    if experiment.source not in ASSETS:
        (checkout / RAW).mkdir()
        (checkout / RAW / experiment.source).symlink_to((RAW / experiment.source).absolute())


def run_target(stages: WarmProcess, checkout: Path, experiment: Experiment, target: str) -> Cost:
    """Run a target's command there and measure it."""
    command, out = read_command(experiment, target)
    before = _size(checkout)
    seconds, memory, recorded = stages.run(checkout, target, command)
    # DVC's cache has each output once more.
    return Cost(
        seconds,
        memory,
        _size(checkout) - before + _size(checkout / out) + recorded,
        2 * _size(checkout / out / "snapshots"),
        2**20 * _read_timings(checkout, target).get(GPU_MEMORY, 0.0),
    )


def run_command(
    checkout: Path, target: str, command: str, say: Callable[[str], None], own: bool = False
) -> tuple[float, int]:
    """Run a target's command there; return its seconds and the bytes of memory it took at most.

    own: with the code of the checkout, not that at hand. `say` gets each line of its output. Raises
    what `explain_stage` makes of a failure.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=checkout,
        env=make_variables(checkout.absolute() if own else ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout is not None  # a pipe
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        say(lines[-1])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise explain_stage(target, process.returncode, lines)
    return time.perf_counter() - start, 1024 * usage.ru_maxrss


def read_command(experiment: Experiment, target: str) -> tuple[str, str]:
    """Return a target's command and the folder it writes, as dvc.yaml has them."""
    stage, key = target.split("@")
    command = read_yaml(Path("dvc.yaml"))["stages"][stage]["do"]["cmd"]
    item = key if stage == "download" else ""
    known = {
        "${key}": key,
        "${item}": item,
        "${item.dataset}": experiment.dataset,
        "${item.images.source}": experiment.source,
    }
    for name, value in known.items():
        command = command.replace(name, value)
    return command, command.split("--out ")[1].split()[0]


def make_variables(code: Path = ROOT) -> dict[str, str]:
    """Return the environment of a stage that is only tried: no service of the user's is told."""
    kept = {name: value for name, value in os.environ.items() if name not in OWN_SERVICES}
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    library = Path(diffusevae.__file__).parents[1] if code == ROOT else code / "src"
    return kept | {
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": os.pathsep.join([str(library), str(code)]),
        PARENT_VARIABLE: str(os.getpid()),
    }


def _read_timings(checkout: Path, target: str) -> dict[str, float]:
    stage, key = target.split("@")
    return json.loads((checkout / TIMINGS / key / f"{stage}.json").read_text())


def _size(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
