"""What a flow shows in Prefect's own pages: how far it is, which stages ran, the metrics."""

from collections.abc import Callable, Mapping, Sequence

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from tasks.stage import StageResult


class Progress:
    """A progress artifact: the share of stages that are done."""

    def __init__(self, experiment: str, num_stages: int) -> None:
        self._num_stages = num_stages
        self._done = 0
        self._id = _show(lambda: create_progress_artifact(
            0.0, _key(experiment, "progress"), f"0 of {num_stages} stages"))  # fmt: skip

    def advance(self, target: str) -> None:
        """Count one more stage as done."""
        self._done += 1
        if self._id is not None:
            _show(lambda: update_progress_artifact(
                self._id, 100 * self._done / self._num_stages,
                f"{self._done} of {self._num_stages} stages, the last {target}"))  # fmt: skip


def show_stages(experiment: str, results: Sequence[StageResult]) -> None:
    """Show a table of the stages, whether they ran and how long they took."""
    rows = [{"stage": result.target, "ran": "yes" if result.ran else "up to date",
             "seconds": round(result.seconds, 1)} for result in results]  # fmt: skip
    _show(lambda: create_table_artifact(rows, _key(experiment, "stages"), "Stages of this run"))


def show_metrics(experiment: str, metrics: Mapping[str, float]) -> None:
    """Show a table of the experiment's metrics."""
    rows = [{"metric": name, "value": value} for name, value in metrics.items()]
    _show(lambda: create_table_artifact(rows, _key(experiment, "metrics"), "On test images"))


def _key(experiment: str, name: str) -> str:
    """Prefect allows small letters, digits and dashes."""
    return f"{experiment}-{name}".lower().replace("_", "-")


def _show(action: Callable):
    """Do it; a server that is away costs the run a picture, not its work."""
    try:
        return action()
    except httpx.TransportError as error:
        get_run_logger().warning(f"Prefect's server does not answer: {error}")
        return None
