"""Programs that end with the process that started them."""

import signal
import subprocess
import sys
import time

import pytest

from diffusevae.core.parent import LEFT_TO_PROGRAMS, tie
from tests.support.processes import alive, wait_for

# Each starts a program, says its process number, and waits to be killed.
PROGRAM = """
import subprocess, sys, time
from diffusevae.core.parent import tie
print(subprocess.Popen(tie(["sleep", "100"])).pid, flush=True)
time.sleep(100)
"""
SERVER = """
import sys, time
from pathlib import Path
from flows.prefect_server import TemporaryServer
print(TemporaryServer(Path(sys.argv[1]))._process.pid, flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("script", [PROGRAM, SERVER])
def test_a_program_ends_when_what_started_it_is_killed(tmp_path, script):
    for delay in (0, 0.05, 0.3) if script is PROGRAM else (0,):
        parent = subprocess.Popen(
            [sys.executable, "-c", script, tmp_path],
            text=True,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        program = int(parent.stdout.readline())
        time.sleep(delay)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        assert wait_for(lambda pid=program: not alive(pid)), f"{delay} s: it lives on"


def test_a_program_does_not_start_where_what_started_it_is_gone(tmp_path):
    with subprocess.Popen(["true"]) as gone:
        pass
    *launcher, _ = tie([])
    done = subprocess.run(
        [*launcher, str(gone.pid), "touch", tmp_path / "file"], text=True, capture_output=True
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error: what started this process is gone; start it again\n"
    assert not (tmp_path / "file").exists()


def test_a_program_hears_the_signals_that_this_process_ignores():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a script
    try:
        said = subprocess.check_output(tie(["grep", "SigIgn", "/proc/self/status"]), text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    ignored = int(said.split()[1], 16)  # a bit for each; some libraries have one of their own
    assert not [number for number in LEFT_TO_PROGRAMS if ignored >> (number - 1) & 1]
