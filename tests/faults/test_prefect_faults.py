"""A Prefect server that dies under a flow, for a while and for good."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

import flows.prefect_server
from flows.prefect_server import TemporaryServer
from tests.support.checkouts import LOGIN, ROOT, wait_for

pytestmark = pytest.mark.slow
STAGES = ("one", "two", "three")
# What a stage does: it says that it began, and waits to be let go on.
WORK = """\
import sys, time
from pathlib import Path
name = sys.argv[1]
with open("../ran", "a") as file:
    file.write(name + "\\n")
while not Path("../go").exists():
    time.sleep(0.1)
Path(name).write_text(name)
"""
COMMAND = """\
import sys
from prefect import flow
from tasks.terminal import run_on_terminal
from tasks.stage import run_stage

@flow
def toy_flow():
    for name in ("one", "two", "three"):
        run_stage(name)

sys.exit(run_on_terminal(toy_flow))
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A project of DVC's with three stages."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True, cwd=folder)
    (folder / "work.py").write_text(WORK)
    stages = "".join(
        f"  {name}:\n    cmd: python work.py {name}\n    outs: [{name}]\n" for name in STAGES
    )
    (folder / "dvc.yaml").write_text(f"stages:\n{stages}")
    return folder


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A function that starts a server, each time on the same port and data."""
    port = flows.prefect_server.free_port()
    monkeypatch.setattr(flows.prefect_server, "free_port", lambda: port)
    started = []

    def start() -> TemporaryServer:
        started.append(TemporaryServer(tmp_path / "prefect", login=LOGIN))
        started[-1].wait()
        return started[-1]

    yield start
    for each in started:
        each.stop()


def run_flow(checkout: Path, server: TemporaryServer) -> subprocess.Popen:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": paths, "PREFECT_API_URL": server.api_url},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def kill_during_the_first_stage(checkout: Path, server: TemporaryServer) -> None:
    wait_for((checkout.parent / "ran").exists, "the first stage")
    server._process.kill()
    server._process.wait()
    (checkout.parent / "go").touch()


def test_F1_a_server_that_is_restarted_costs_no_stage(checkout, server):
    first = server()
    flow = run_flow(checkout, first)
    kill_during_the_first_stage(checkout, first)
    server()
    said, _ = flow.communicate(timeout=300)
    assert flow.returncode == 0, said
    assert (checkout.parent / "ran").read_text().split() == list(STAGES)


def test_F2_a_server_that_is_gone_for_good_ends_the_run_with_what_is_done(checkout, server):
    first = server()
    flow = run_flow(checkout, first)
    kill_during_the_first_stage(checkout, first)
    start = time.monotonic()
    said, _ = flow.communicate(timeout=600)
    assert flow.returncode == 3 and "Traceback" not in said
    assert "error: Prefect's server: " in said and "what was finished is kept" in said
    assert all((checkout / name).exists() for name in STAGES)
    assert time.monotonic() - start < 180  # a hang: it takes 53 s on a loaded machine


def test_F8_a_slot_that_passed_while_the_server_was_away_is_handed_out(server):
    """Runs are made ahead of their time, and kept; a deployment runs one of them at a time."""
    first = server()
    every = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(seconds=20)))
    with temporary_settings({PREFECT_API_URL: first.api_url}), get_client(sync_client=True) as api:
        api.create_work_pool(WorkPoolCreate(name="cpu", type="process"))
        flow = api.create_flow_from_name("toy")
        api.create_deployment(flow, "toy", work_pool_name="cpu", schedules=[every])
        wait_for(api.read_flow_runs, "runs made ahead")
        first.stop()
        now = datetime.now(UTC)
        server()
        ahead = [run for run in api.read_flow_runs() if run.expected_start_time > now]
        missed = min(ahead, key=lambda run: run.expected_start_time)

        def handed_out() -> bool:
            due = api.get_scheduled_flow_runs_for_work_pool(
                "cpu", scheduled_before=datetime.now(UTC)
            )
            return missed.id in [each.flow_run.id for each in due]

        wait_for(handed_out, "the slot that was missed")
