"""Scheduled runs: the seconds from a schedule's slot to the first stage, on a real worker.

A Prefect server and a worker of their own, in a clone of the checkout's last commit. A run is
cancelled as soon as its first stage has begun, so that the next one has stages to run, too.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.measure import Ratios, Spread, show_table
from benchmarks.overhead import EXPERIMENT, clone, variables_for
from benchmarks.setting import Setting

AHEAD = timedelta(seconds=40)  # a slot is known so long before, as those of a weekly schedule are
SECONDS = 180
LOOP = "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS"  # how often slots are looked for


def measure(setting: Setting) -> Ratios:
    """Print and return the seconds from slot to first stage."""
    with clone() as checkout, tempfile.TemporaryDirectory() as home:
        with start_server(Path(home)) as server, start_worker(checkout, server):
            seconds = Spread.of([wait_for_slot(server) for _ in range(setting.repeats)])
    show_table(
        f"Scheduled run (n = {setting.repeats})", [("", "s"), ("slot to first stage", seconds)]
    )
    return {"slot_to_first_stage_seconds": seconds}


@contextmanager
def start_server(home: Path) -> Iterator[dict[str, str]]:
    """Yield the variables that name a Prefect server and the login it asks for."""
    from flows.prefect_server import TemporaryServer  # Prefect takes a second to import

    server = TemporaryServer(home, {LOOP: "2"})
    try:
        yield {"PREFECT_API_URL": server.wait(), "PREFECT_API_AUTH_STRING": server.login}
    finally:
        server.stop()


@contextmanager
def start_worker(checkout: Path, server: dict[str, str]) -> Iterator[None]:
    """Put the deployments on the server and keep a worker of the cpu pool at work."""
    variables = variables_for(checkout) | server
    subprocess.run(
        [sys.executable, "-m", "diffusevae", "bootstrap"],
        cwd=checkout,
        env=variables,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    worker = subprocess.Popen(
        [sys.executable, "-m", "diffusevae", "worker", "cpu"],
        cwd=checkout,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(SECONDS)


def wait_for_slot(server: dict[str, str]) -> float:
    """Schedule a run, wait for its first stage, cancel it; return the seconds between."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.schedules import IntervalSchedule
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
    from prefect.states import Cancelling

    settings = {
        PREFECT_API_URL: server["PREFECT_API_URL"],
        PREFECT_API_AUTH_STRING: server["PREFECT_API_AUTH_STRING"],
    }
    with temporary_settings(settings), get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"pipeline/{EXPERIMENT}")
        slot = datetime.now(UTC) + AHEAD
        weekly = IntervalSchedule(interval=timedelta(weeks=1), anchor_date=slot)
        [schedule] = client.create_deployment_schedules(deployment.id, [(weekly, True)])

        def find_stage() -> tuple | None:
            for found in client.read_flow_runs():
                if found.expected_start_time == slot:
                    only = FlowRunFilter(id=FlowRunFilterId(any_=[found.id]))
                    tasks = client.read_task_runs(flow_run_filter=only)
                    starts = [task.start_time for task in tasks if task.start_time]
                    return (found.id, min(starts)) if starts else None
            return None

        flow_run, start = _wait(find_stage, "a first stage")
        client.delete_deployment_schedule(deployment.id, schedule.id)
        client.set_flow_run_state(flow_run, Cancelling())
        _wait(lambda: client.read_flow_run(flow_run).state.is_final(), "the run's end")
        return (start - slot).total_seconds()


def _wait(find: Callable[[], object], what: str):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.2)
    raise RuntimeError(f"{what}: not within {SECONDS} s")
