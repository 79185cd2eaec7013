"""What is asked of an experiment beyond its report: one stage, and what that needs."""

from diffusevae.experiments.experiment import load_experiment
from tasks.checkout import require_checkout
from tasks.dvc.checkout_lock import own_checkout
from tasks.dvc.process import reproduce


def make(stage: str, name: str) -> None:
    """Bring a stage on demand up to date for an experiment; say where its results are.

    Raises InputError, EnvironmentFailure or StageFailure.
    """
    require_checkout()
    experiment = load_experiment(name)
    with own_checkout():
        ran = reproduce(f"{stage}@{name}", _say, {}, needed=True)
    print(f"{'made' if ran else 'up to date'}  {experiment.output(stage, '')}", flush=True)


def _say(line: str) -> None:
    print(line, flush=True)
