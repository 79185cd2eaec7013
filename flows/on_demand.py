"""What is asked of an experiment beyond its report: one stage, and what that needs."""

from diffusevae.experiments.experiment import load_experiment
from diffusevae.tracking.stage_logger import LIVE_VARIABLE
from tasks.checkout import require_checkout
from tasks.dvc.checkout_lock import own_checkout
from tasks.dvc.process import reproduce
from tasks.screen import show_stages


def make(stage: str, name: str) -> None:
    """Bring a stage on demand up to date for an experiment; say where its results are.

    Raises InputError, EnvironmentFailure or StageFailure.
    """
    require_checkout()
    experiment = load_experiment(name)
    target = f"{stage}@{name}"
    with own_checkout(), show_stages() as screen:
        if screen is None:
            ran = reproduce(target, _say, {}, needed=True)
        else:
            ran = reproduce(target, screen.show, {LIVE_VARIABLE: "1"}, needed=True)
            screen.finish(target, ran)
    print(f"{'made' if ran else 'up to date'}  {experiment.output(stage, '')}", flush=True)


def _say(line: str) -> None:
    print(line, flush=True)
