"""One DVC stage as one Prefect task."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from diffusevae.tracking.recorder_client import RECORDER_VARIABLE
from diffusevae.tracking.stage_logger import LIVE_VARIABLE, PARENT_VARIABLE
from tasks.dvc.process import reproduce
from tasks.screen import SCREEN


@dataclass(frozen=True)
class StageResult:
    """What became of a stage: whether it ran (else its outputs were up to date or cached)."""

    target: str
    ran: bool
    seconds: float


# DVC alone decides what is up to date. Call it directly: a submitted task outlives its flow.
@task(task_run_name="{target}", cache_policy=NO_CACHE)
def run_stage(
    target: str, parent_run: str | None = None, recorder: str | None = None, remote: bool = False
) -> StageResult:
    """Bring a stage, e.g. train_vae@smoke, up to date with its log lines streamed live.

    `parent_run` is the id of the MLflow run under which the stage's own run is nested, `recorder`
    the address that writes it (`tasks.recording`); remote: whether DVC's remote answers. Raises
    InputError, EnvironmentFailure or StageFailure; when cancelled, the stage's processes end.
    """
    start = time.monotonic()
    variables = {PARENT_VARIABLE: parent_run, RECORDER_VARIABLE: recorder}
    given = {name: value for name, value in variables.items() if value is not None}
    say: Callable[[str], None] = get_run_logger().info
    screen = SCREEN.get()
    if screen is not None:
        say, given = screen.tell(say), given | {LIVE_VARIABLE: "1"}
    ran = reproduce(target, say, given, remote=remote)
    if screen is not None:
        screen.finish(target, ran)
    return StageResult(target, ran, time.monotonic() - start)
