"""The pipeline from a terminal.

    python -m flows quickstart

Without PREFECT_API_URL, a Prefect server is started for the time of the run.
"""

import os
import sys
from contextlib import nullcontext

from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server import start_where_none
from flows.terminal import run_on_terminal


def main(arguments: list[str]) -> int:
    """Run the pipeline for the experiment named, else for quickstart; return the exit code."""
    return run_on_terminal(lambda: _run(arguments[0] if arguments else "quickstart"))


def _run(name: str) -> None:
    server = start_where_none()
    # What takes seconds is done while the server starts.
    from diffusevae.experiment import load_experiment
    from flows.pipeline import pipeline
    from tasks.parent_run import require_mlflow

    load_experiment(name)
    require_mlflow()
    address = temporary_settings({PREFECT_API_URL: server.wait()}) if server else nullcontext()
    with address:
        outcome = pipeline(name)
    print(f"report  {outcome.report}")
    print(f"MLflow  {_how_to_open_mlflow()}")
    print(f"model   {outcome.model.name}, version {outcome.model.version}", flush=True)


def _how_to_open_mlflow() -> str:
    address = os.environ["MLFLOW_TRACKING_URI"]  # set by now: the run has used it
    return address if address.startswith("http") else "make mlflow, then http://127.0.0.1:5000"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
