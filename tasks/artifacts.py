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


class Artifacts:
    """The artifacts of one flow run. A server that goes away costs pictures, not the run's work."""

    def __init__(self, experiment: str, num_stages: int) -> None:
        self._prefix = experiment.lower().replace("_", "-")  # what Prefect allows in a key
        self._num_stages = num_stages
        self._done = 0
        self._answers = True
        self._progress = self._show(
            lambda: create_progress_artifact(
                0.0, f"{self._prefix}-progress", f"0 of {num_stages} stages"
            )
        )

    def count(self, target: str) -> None:
        """Show that one more stage is done."""
        self._done += 1
        self._show(
            lambda: update_progress_artifact(
                self._progress,
                100 * self._done / self._num_stages,
                f"{self._done} of {self._num_stages} stages, the last {target}",
            )
        )

    def show_stages(self, results: Sequence[StageResult]) -> None:
        """Show a table of the stages, whether they ran and how long they took."""
        rows = [
            {
                "stage": result.target,
                "ran": "yes" if result.ran else "up to date",
                "seconds": round(result.seconds, 1),
            }
            for result in results
        ]
        self._show(lambda: create_table_artifact(rows, f"{self._prefix}-stages", "Stages"))

    def show_metrics(self, metrics: Mapping[str, float]) -> None:
        """Show a table of the main numbers."""
        rows = [{"metric": name, "value": value} for name, value in metrics.items()]
        self._show(lambda: create_table_artifact(rows, f"{self._prefix}-metrics", "Metrics"))

    def _show(self, action: Callable):
        """Do it, unless the server did not answer before: each try would wait for it again."""
        if not self._answers:
            return None
        try:
            return action()
        except httpx.TransportError as error:
            self._answers = False
            get_run_logger().warning(
                f"Prefect's server does not answer ({error}): the run goes "
                "on and shows nothing more there"
            )
            return None
