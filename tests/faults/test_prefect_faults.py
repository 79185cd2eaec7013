"""A Prefect server that dies under a flow, for a while and for good."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
    print(said[-3000:], time.monotonic() - start)
    assert flow.returncode in (0, 3)
    assert (checkout / "one").exists() and "Traceback" not in said
    assert time.monotonic() - start < 120
