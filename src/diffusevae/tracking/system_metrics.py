"""What of the machine is in use while a stage works, as MLflow's page of system metrics shows it.

Measured by MLflow's own monitors: CPU and memory of the whole machine, and its GPUs where
nvidia-ml-py finds some. Samples are not kept for later where MLflow does not answer.
"""

import sys
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

SECONDS = 10  # between two samples


class SystemMetrics(Thread):
    """Hands samples as messages for a run to `send`, the last one when it is stopped."""

    def __init__(self, run: int, send: Callable[[dict], None]) -> None:
        super().__init__(daemon=True)
        self._number, self._send, self._stopped = run, send, Event()

    def run(self) -> None:
        try:
            self._watch(list(_find_monitors()))
        except Exception as error:  # whatever the machine does not tell, no stage must die of it
            print(f"warning: system metrics stop here: {error}", file=sys.stderr, flush=True)

    def _watch(self, monitors: "list[BaseMetricsMonitor]") -> None:
        step, going_on = 0, True
        while going_on:
            going_on = not self._stopped.wait(SECONDS)
            now = int(time.time() * 1000)
            values: dict[str, float] = {}
            for monitor in monitors:
                monitor.collect_metrics()
                values |= monitor.aggregate_metrics()
                monitor.clear_metrics()
            rows = [[f"system/{name}", value, now, step] for name, value in values.items()]
            self._send({"do": "metrics", "run": self._number, "milliseconds": now, "rows": rows})
            step += 1

    def stop(self) -> None:
        """Send the last sample; none comes after it."""
        self._stopped.set()
        self.join()


def _find_monitors() -> "Iterator[BaseMetricsMonitor]":
    import psutil
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    psutil.cpu_percent()  # from where on the first sample counts
    yield CPUMonitor()
    try:
        yield GPUMonitor()
    except (ImportError, RuntimeError):  # no nvidia-ml-py, or no GPU
        return
