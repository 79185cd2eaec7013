"""Take part in an experiment's studies, wherever they are going on.

    export DIFFUSEVAE_OPTUNA_STORAGE=postgresql://user:password@host/database
    diffusevae tune quickstart

It runs the same stages as the pipeline, up to the searches: whoever runs them on the same storage,
with the same code, params and data, shares the trials, and gets the same result.
"""

from prefect import flow

from diffusevae.core.errors import EnvironmentFailure
from diffusevae.experiments.experiment import load_experiment
from diffusevae.tuning.study_storage import STORAGE_VARIABLE, is_shared
from flows.pipeline import pull_results
from flows.prefect_server import server_at_hand
from flows.worker import end_with_worker
from tasks.checkout import require_checkout
from tasks.dvc.checkout_lock import own_checkout
from tasks.dvc.process import has_remote
from tasks.stage import run_stage

STAGES = ("download", "prepare", "tune_vae", "tune_ddpm")


@flow(name="tune", flow_run_name="{experiment}")
def tune(experiment: str = "quickstart") -> None:
    """Work on the experiment's trials until none is left.

    Raises InputError, EnvironmentFailure or StageFailure; each says in one line what to do.
    """
    end_with_worker()
    chosen = load_experiment(experiment)
    if not is_shared():
        raise EnvironmentFailure(
            f"{STORAGE_VARIABLE}: is not set, so there is nobody to share "
            "trials with; set it to the database that the others use"
        )
    with own_checkout():
        if has_remote():
            pull_results(chosen)
        for target in chosen.targets:
            if target.partition("@")[0] in STAGES:
                run_stage(target)


def take_part(experiment: str) -> None:
    """Work on the experiment's trials, on the user's Prefect server or one for the time of it."""
    require_checkout()

    def check() -> None:
        load_experiment(experiment)

    with server_at_hand(check):
        tune(experiment)
