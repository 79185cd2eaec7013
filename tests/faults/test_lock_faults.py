"""Locks whose holders were killed, and clocks that are set back."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffusevae.core.disk import LOCKS, lock, own_output
from diffusevae.core.errors import EnvironmentFailure
from diffusevae.tracking.recorder import record
from tasks.parent_run import open_parent_run
from tests.support.checkouts import ROOT
from tests.support.records import CLOSE, lines, runs_of

HOLD = """\
import sys, time
from pathlib import Path
from diffusevae.core.disk import lock, own_output
with own_output(Path("out")), lock(Path("scratch/download.lock")):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def killed(tmp_path, monkeypatch) -> int:
    """The number of a process that held an output and a download, and was killed; still unreaped,
    as in a container without an init.
    """
    monkeypatch.chdir(tmp_path)
    paths = {"PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, env=os.environ | paths
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(EnvironmentFailure, match=f"^out: held by pid {holder.pid} since"):
            with own_output(Path("out")):
                pass
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        yield holder.pid


@pytest.mark.parametrize("left", ["its own", "empty", "of a live process", "none of ours"])
def test_T18_what_a_killed_holder_left_is_no_lock(killed, left):
    [path] = LOCKS.glob("*.lock")
    assert f"pid {killed} since" in path.read_text()
    if left != "its own":
        content = {"empty": b"", "of a live process": b"pid 1 since 2026-01-01 00:00:00\n"}
        path.write_bytes(content.get(left, b"\xff\0{"))
    with own_output(Path("out")):
        assert f"pid {os.getpid()} since" in path.read_text()
    with lock(Path("scratch/download.lock"), lambda: pytest.fail("waits")):
        pass


def test_T14_no_run_ends_before_it_began(mlflow_store):
    """The clock on the wall goes back an hour: recorders and what sends later read it."""
    loss = {"do": "metrics", "values": {"loss": 0.5}, "step": 1}
    record(lines(loss | {"milliseconds": 900}, CLOSE | {"milliseconds": 400}))
    [run] = runs_of(mlflow_store)
    assert run.info.status == "FINISHED" and run.data.metrics["loss"] == 0.5
    assert run.info.start_time == run.info.end_time == 1000


def test_T14_no_parent_run_ends_before_it_began(mlflow_store, monkeypatch):
    now = time.time()
    with open_parent_run("toy", "toy_data"):
        monkeypatch.setattr(time, "time", lambda: now - 3600)
    [run] = runs_of(mlflow_store)
    assert run.info.status == "FINISHED" and run.info.start_time <= run.info.end_time
