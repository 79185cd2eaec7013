"""The start of the pipeline from a terminal.

Without PREFECT_API_URL, a Prefect server is started for the time of the run.
"""

import gc

from flows.prefect_server import server_at_hand
from tasks.checkout import require_checkout
from tasks.terminal import show_outcome


def run(name: str) -> None:
    """Run the pipeline for an experiment; say where the report and the model are.

    Raises InputError, EnvironmentFailure or StageFailure.
    """
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
