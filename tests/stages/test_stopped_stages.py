"""Stages that are told to stop, lose their parent or their reader, or find their place taken."""

import signal
import socketserver
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from diffusevae.core import interruption
from diffusevae.core.parent import PARENT_VARIABLE
from diffusevae.tracking.recorder_client import RECORDER_VARIABLE
from tests.support.processes import alive, wait_for

INPUTS = ("train_vae", "train", "validation", "best.yaml")


@pytest.fixture(autouse=True)
def recorded(tmp_path_factory, monkeypatch) -> list[str]:
    """What stages record, here without MLflow, which would take its time."""
    lines = []

    class Stage(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            lines.extend(line.decode() for line in self.rfile)

    address = str(tmp_path_factory.mktemp("recorder") / "socket")
    monkeypatch.setenv(RECORDER_VARIABLE, address)
    with socketserver.ThreadingUnixStreamServer(address, Stage) as server:
        server.block_on_close = False
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield lines
        server.shutdown()


def command(*inputs: str, out: str = "out") -> list[str]:
    stage, *paths = inputs
    options = [word for name in paths for word in (f"--{Path(name).stem}", name)]
    return [sys.executable, "-m", "diffusevae.stages", stage, "smoke", *options, "--out", out]


def start(checkout: Path, *inputs: str, out: str = "out", **options) -> subprocess.Popen:
    return subprocess.Popen(
        command(*inputs, out=out),
        cwd=checkout,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def wait_for_line(stage: subprocess.Popen, text: str) -> None:
    assert next((line for line in stage.stdout if text in line), None), f"never said {text!r}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.fault("T6", "T7")
def test_a_signal_ends_a_training_with_a_checkpoint_and_one_line(checkout, recorded, number):
    stage = start(checkout, *INPUTS)
    wait_for_line(stage, "epoch 1 ")
    stage.send_signal(number)
    stage.send_signal(number)  # a second one changes nothing
    _, complaint = stage.communicate(timeout=60)
    assert stage.returncode == 128 + number
    assert complaint == f"error: stopped by {number.name}; run it again to go on\n"
    assert '"status": "KILLED"' in recorded[-1] and not (checkout / "out").exists()
    assert list(checkout.glob("scratch/progress/*/*.safetensors"))


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_any_such_signal_while_torch_is_imported_is_one_line(checkout, number):
    stage = start(checkout, *INPUTS)
    time.sleep(1)
    stage.send_signal(number)
    _, complaint = stage.communicate(timeout=60)
    assert stage.returncode == 128 + number
    assert complaint == f"error: stopped by {number.name}; run it again to go on\n"


@pytest.mark.fault("F15")
def test_a_reader_that_goes_away_does_not_end_a_stage(checkout):
    stage = start(checkout, *INPUTS)
    stage.stdout.close()
    stage.stderr.close()
    assert stage.wait(timeout=100) == 0
    assert (checkout / "out/model.safetensors").exists()


@pytest.mark.fault("T17")
def test_the_second_of_two_stages_with_one_output_says_who_holds_it(checkout):
    (checkout / "link").symlink_to(checkout / "out")
    first = start(checkout, *INPUTS)
    wait_for_line(first, "epoch 1 ")
    first.send_signal(signal.SIGSTOP)
    try:
        for spelling in ("link", "./x/../out"):
            second = start(checkout, *INPUTS, out=spelling)
            _, complaint = second.communicate(timeout=60)
            assert second.returncode == 3
            assert complaint.startswith(f"error: {Path(spelling)}: held by pid {first.pid} since ")
    finally:
        first.kill()
        first.wait()


@pytest.mark.parametrize("place", ["file", "file/deeper", "/proc/none"])
def test_an_output_that_cannot_be_made_is_found_before_any_work(checkout, place):
    (checkout / "file").write_text("x")
    stage = start(checkout, *INPUTS, out=place)
    said, complaint = stage.communicate(timeout=60)
    assert stage.returncode == 3 and "epoch" not in said
    assert complaint.startswith("error: ") and complaint.count("\n") == 1


# Starts a stage as DVC does, says its process number, and waits to be killed.
PARENT = """
import os, subprocess, sys, time
told = {sys.argv[1]: str(os.getpid())} if sys.argv[1] else {}
child = subprocess.Popen(["sh", "-c", 'exec "$@"', "sh", *sys.argv[2:]], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         env=os.environ | {"DVC_STAGE": "x"} | told)
print(child.pid, flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("variable", [PARENT_VARIABLE, ""])
@pytest.mark.fault("F4")
def test_a_stage_ends_with_its_parent_whenever_that_is_killed(checkout, variable):
    for delay in (0, 0.05, 0.2, 1):
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, variable, *command(*INPUTS)],
            cwd=checkout,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        stage = int(parent.stdout.readline())
        time.sleep(delay)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        assert wait_for(lambda pid=stage: not alive(pid)), f"{delay} s: the stage lives on"
    assert not (checkout / "out").exists()
