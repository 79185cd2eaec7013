"""The lines of the stages on a terminal, fed with what DVC and stages print."""

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.console import Console

from tasks.screen import SHARE, Screen, read_share, show_stages
from tests.support.checkouts import ROOT

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SAYS = """\
import logging, prefect
from prefect.logging.configuration import setup_logging
from tasks.screen import show_stages
setup_logging()
logger = logging.getLogger("prefect.anything")
logger.setLevel("INFO")
with show_stages(2) as screen:
    logger.info("not to be seen")
    logger.warning("to be seen")
    take = screen.tell(logger.info)
    for line in ["Running stage 'one@x':", "epoch 1 of 2: 40%", "epoch 1  train_loss 0.5"]:
        take(line)
    screen.finish("one@x", True)
logger.info("seen again")
"""


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ("refine: 75%", 0.75),
        ("epoch 1 of 1: 40%", 0.4),
        ("epoch 3 of 4: 50%", 2.5 / 4),
        ("trial 2 (of 5)  epoch 2 of 2: 50%", (2 + 0.75) / 5),
        ("trial in+down-0  epoch 2 of 4: 0%", 0.25),
        ("generate diffusevae_mixture: 7%", 0.07),
    ],
)
def test_a_share_is_of_the_whole_that_the_line_tells_of(line, share):
    found = SHARE.fullmatch(line)
    assert found and read_share(found) == pytest.approx(share)


@pytest.mark.parametrize("line", ["epoch 3  train_loss 0.5", "disk: 40% full", "> exec python"])
def test_what_tells_no_share_is_none(line):
    assert not SHARE.fullmatch(line)


def make_screen(targets: int | None = None) -> tuple[Screen, io.StringIO]:
    shown = io.StringIO()
    return Screen(Console(file=shown, force_terminal=True, width=100), targets), shown


def last_lines(shown: io.StringIO, count: int) -> list[str]:
    text = CODES.sub("", shown.getvalue()).replace("\r", "\n")  # where it is drawn anew
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return [line for line in lines if line][-count:]


def test_each_stage_has_a_line_with_its_bar_and_its_last_loss():
    screen, shown = make_screen(targets=3)
    with screen.open():
        for line in (
            "a line of DVC before any stage",
            "Running stage 'one@x':",
            "epoch 1 of 2: 50%",
            "epoch 1  train_loss 0.7  validation_loss 0.25",
            "Running stage 'two@x':",  # so one@x is done
            "trial 0 (of 2)  epoch 1 of 2: 50%",
        ):
            screen.show(line)
        screen.finish("three@x", ran=False)
    one, two, three = last_lines(shown, 3)
    assert re.fullmatch(r"1/3 one@x ━{16} 0:00 validation loss 0.25", one)
    assert re.fullmatch(r"2/3 two@x ━{16} 0:00", two)
    assert re.fullmatch(r"3/3 three@x ━{16} 0:00 nothing to do", three)


def test_a_stage_at_work_says_where_it_is_and_how_long_it_will_take(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("tasks.screen.time.monotonic", lambda: now[0])
    screen, shown = make_screen()
    with screen.open():
        screen.show("Running stage 'one@x':")
        screen.show("epoch 1 of 4: 0%")
        now[0] += 30
        screen.show("epoch 2 of 4: 0%")  # a quarter in 30 s: three more to go
    (line,) = last_lines(shown, 1)
    assert re.fullmatch(r"one@x ━{4}╺━{11} 1:30 left epoch 2 of 4", line)


def test_of_a_stage_that_failed_the_last_lines_stay():
    screen, shown = make_screen()
    with pytest.raises(KeyError), screen.open():
        screen.show("Running stage 'one@x':")
        for number in range(30):
            screen.show(f"line {number}")
        screen.show("epoch 1 of 2: 50%")
        raise KeyError
    text = CODES.sub("", shown.getvalue())
    assert "  line 10" in text and "  line 29" in text and "  line 9\r" not in text


def test_without_a_terminal_there_is_no_screen():
    with show_stages(2) as screen:
        assert screen is None


def test_on_a_terminal_prefect_says_no_more_than_warnings_meanwhile():
    here, there = pty.openpty()
    environment = os.environ | {"PYTHONPATH": f"{ROOT}", "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.Popen(
        [sys.executable, "-c", SAYS], stdin=there, stdout=there, stderr=there, env=environment
    )
    os.close(there)
    said = b""
    while True:
        try:
            said += os.read(here, 65536)
        except OSError:  # nobody writes there any more
            break
    os.close(here)
    text = CODES.sub("", said.decode())
    assert done.wait(60) == 0, text
    assert "not to be seen" not in text and "epoch 1  train_loss" not in text
    assert "to be seen" in text and "seen again" in text
    assert re.search(r"1/2 one@x ━{16} +0:00 +train loss 0.5", text)
