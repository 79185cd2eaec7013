"""The pipeline from a terminal.

    python -m flows quickstart

Without PREFECT_API_URL, a Prefect server is started for the time of the run.
"""

import gc
import sys

from flows.prefect_server import server_at_hand
from tasks.checkout import require_checkout
from tasks.terminal import run_on_terminal, show_outcome


def main(arguments: list[str]) -> int:
    """Run the pipeline for the experiment named, else for quickstart; return the exit code."""
    return run_on_terminal(lambda: _run(arguments[0] if arguments else "quickstart"))


def _run(name: str) -> None:
    require_checkout()
    with server_at_hand(lambda: _prepare(name)):
        from flows.pipeline import pipeline

        outcome = pipeline(name)
    show_outcome(outcome.report, outcome.model)


def _prepare(name: str) -> None:
    """Do what takes seconds while the server starts. Raises InputError, EnvironmentFailure."""
    gc.disable()  # imports make a great many objects and no garbage
    import flows.pipeline  # noqa: F401
    from diffusevae.experiments.experiment import load_experiment
    from tasks.parent_run import require_mlflow

    load_experiment(name)
    require_mlflow()
    gc.enable()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
