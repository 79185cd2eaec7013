"""The pipeline from a terminal.

    python -m flows quickstart

Without PREFECT_API_URL, a Prefect server is started for the time of the run.
"""

import gc
import os
import sys

from flows.server import server_at_hand
from flows.terminal import run_on_terminal


def main(arguments: list[str]) -> int:
    """Run the pipeline for the experiment named, else for quickstart; return the exit code."""
    return run_on_terminal(lambda: _run(arguments[0] if arguments else "quickstart"))


def _run(name: str) -> None:
    with server_at_hand(lambda: _prepare(name)):
        from flows.pipeline import pipeline

        outcome = pipeline(name)
    print(f"report  {outcome.report}")
    print(f"MLflow  {_how_to_open_mlflow()}")
    print(f"model   {outcome.model.name}, version {outcome.model.version}", flush=True)


def _prepare(name: str) -> None:
    """Do what takes seconds while the server starts. Raises InputError, EnvironmentFailure."""
    gc.disable()  # imports make a great many objects and no garbage
    import flows.pipeline  # noqa: F401
    from diffusevae.experiment import load_experiment
    from tasks.parent_run import require_mlflow

    load_experiment(name)
    require_mlflow()
    gc.enable()


def _how_to_open_mlflow() -> str:
    address = os.environ["MLFLOW_TRACKING_URI"]  # set by now: the run has used it
    return address if address.startswith("http") else "make mlflow, then http://127.0.0.1:5000"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
