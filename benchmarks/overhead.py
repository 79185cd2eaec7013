"""What the pipeline costs: the flow `smoke` against the same stages' commands run bare.

Each in a clone of the checkout's last commit, so that every stage really runs and nothing of the
user's is touched. Bare means: the commands of dvc.yaml one after another, without DVC and Prefect;
they track to MLflow as in the flow. What a clone needs before it can run is not counted: its
downloads (those of the checkout are copied), an MLflow store, and Prefect's, as `make setup` makes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Ratios, Spread, divide, show_table
from benchmarks.setting import Setting
from diffusevae.experiments.experiment import load_experiment
from tasks.probe.trial_checkout import read_command

CHECKOUT = Path(__file__).parents[1]
EXPERIMENT = "smoke"
RUNNING = "Running stage '"
CONNECT = "from diffusevae.tracking.mlflow_store import connect; connect().search_experiments()"
OF_THE_USER = ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI", "DVC_STAGE")
TURNS = 3  # a turn takes minutes


def measure(setting: Setting) -> Ratios:
    """Print the seconds of the flow, of the bare stages, of a rerun; return ratio and overheads."""
    experiment = load_experiment(EXPERIMENT)
    commands = [read_command(experiment, target)[0] for target in experiment.targets]
    bare, flow, rerun, ran = [], [], [], []
    for _ in range(min(TURNS, setting.repeats)):
        with clone() as checkout:
            bare.append(sum(time_command(checkout, command) for command in commands))
        with clone() as checkout:
            seconds, output = run(checkout, "-m", "diffusevae", "run", EXPERIMENT)
            flow.append(seconds)
            ran.append(output.count(RUNNING))
            rerun.append(run(checkout, "-m", "diffusevae", "run", EXPERIMENT)[0])
    each = [(a - b) / count for a, b, count in zip(flow, bare, ran, strict=True)]
    rows = [
        ("", "s"),
        (f"{len(commands)} stages bare", Spread.of(bare)),
        (f"flow, {ran[0]} stages run", Spread.of(flow)),
        ("flow, nothing to do", Spread.of(rerun)),
        ("overhead of a stage that runs", Spread.of(each)),
    ]
    show_table(f"Pipeline, {EXPERIMENT} (n = {len(bare)})", rows)
    return {
        "smoke_flow_vs_bare": divide(flow, bare),
        "overhead_seconds_per_stage": Spread.of(each),
        "rerun_with_nothing_to_do_seconds": Spread.of(rerun),
    }


@contextmanager
def clone() -> Iterator[Path]:
    """Clone the checkout's last commit, ready to run, for the time of the block."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        subprocess.run(["git", "clone", "-q", CHECKOUT, checkout], check=True)
        if (CHECKOUT / "scratch/downloads").exists():
            shutil.copytree(CHECKOUT / "scratch/downloads", checkout / "scratch/downloads")
        (checkout / "scratch/prefect").mkdir(parents=True, exist_ok=True)
        run(checkout, "-c", CONNECT)
        run(checkout, "-m", "prefect", "server", "database", "upgrade", "--yes")
        yield checkout


def time_command(checkout: Path, command: str) -> float:
    """Return the seconds of a stage's command."""
    return _time(["sh", "-c", command], checkout)[0]


def run(checkout: Path, *arguments: str) -> tuple[float, str]:
    """Return the seconds of a Python in that checkout, and what it printed."""
    return _time([sys.executable, *arguments], checkout)


def variables_for(checkout: Path) -> dict[str, str]:
    """Return the environment for a clone: its own code, no service of the user's."""
    variables = {name: value for name, value in os.environ.items() if name not in OF_THE_USER}
    return variables | {
        "PREFECT_HOME": str(checkout / "scratch/prefect"),
        "PYTHONPATH": os.pathsep.join([str(checkout), str(checkout / "src")]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


def _time(command: list[str], checkout: Path) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=checkout,
        env=variables_for(checkout),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}"
        )
    return seconds, done.stdout
