"""The hook that numbers points, and operations that die at some of theirs."""

import os
import subprocess
import sys

import pytest

from tests.faults.crashes import HOOK, REACHES, Subject, spread
from tests.faults.operations import OPERATIONS

DONE = {
    "train": pytest.mark.fault("T1", "T2", "T7"),
    "search": pytest.mark.fault("O12"),
    "register": pytest.mark.fault("R5"),
    "reproduce": pytest.mark.fault("F9"),
}
WRITE = """\
import os
with open("new", "wb") as file:
    file.write(b"new")
    file.flush()
    os.fsync(file.fileno())
os.replace("new", "kept")
"""


def run_hooked(folder, point: int, script: str) -> list[str]:
    """Run a script that dies at a point; return the points that it passed."""
    ledger = folder / f"ledger-{point}"
    ledger.mkdir()
    checkout = folder / "checkout"
    checkout.mkdir(exist_ok=True)
    (checkout / "kept").write_bytes(b"old")
    variables = {
        "FAULT_SCOPE": str(checkout),
        "FAULT_LEDGER": str(ledger),
        "FAULT_POINT": str(point),
        "FAULT_REACH": "one",
        "PYTHONPATH": str(HOOK),
    }
    code = subprocess.run([sys.executable, "-c", script], cwd=checkout, env=os.environ | variables)
    assert code.returncode == (-9 if point else 0)
    return (ledger / "names").read_text().splitlines()


def test_every_step_of_a_file_s_way_to_the_disk_is_a_point_to_die_at(tmp_path):
    points = run_hooked(tmp_path, 0, WRITE)
    assert points == ["1 open new", "2 fsync new", "3 os.rename new"]
    assert (tmp_path / "checkout/kept").read_bytes() == b"new"
    for point in (1, 2, 3):
        assert run_hooked(tmp_path, point, WRITE) == points[:point]
        assert (tmp_path / "checkout/kept").read_bytes() == b"old"


def test_a_commit_of_sqlite_is_a_point_and_a_look_at_a_file_is_none(tmp_path):
    script = """\
import sqlite3
open("kept").read()
store = sqlite3.connect("store.db")
store.execute("create table t (x)")
store.execute("insert into t values (1)")
store.commit()
"""
    assert run_hooked(tmp_path, 0, script) == ["1 commit ."]


def test_points_are_spread_from_the_first_to_the_last():
    assert spread(3, 101) == [1, 51, 101]
    assert spread(5, 3) == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=DONE[name]) for name in OPERATIONS])
def test_the_run_after_a_death_ends_as_an_unbroken_one(name, tmp_path):
    subject = Subject(name, tmp_path)
    for i, point in enumerate(spread(4, subject.num_points)):
        crash = subject.crash(point, REACHES[i % 2])
        assert not crash.wrong, crash
