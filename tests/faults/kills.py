"""A pipeline killed at random moments, again and again, ends as one that was left alone.

    python -m tests.faults.kills --rounds 200

In each round `python -m flows smoke` goes on in the same checkout until, at a random moment, a
random process of its tree is killed outright: flow, DVC, stage, recorder or Prefect's server. A
run that comes to its end must leave the bytes of an unbroken one, one version in the registry
and no run that MLflow takes for at work; then the next round begins anew.
"""

import argparse
import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil

from tests.faults.crashes import find_differences
from tests.faults.operations import STORE, Facts, hash_file, hash_files, prepare_checkout, read_runs
from tests.support.processes import wait_for

EXPERIMENT = "smoke"
SECONDS = 1800  # a hang, not a slow machine
MARK = "FAULT_TREE"  # an environment variable that all processes of a run have


def start(checkout: Path, mark: str) -> subprocess.Popen:
    """Start the pipeline there; what it says goes to `said`."""
    variables = {MARK: mark, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    with open(checkout.parent / "said", "a") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "flows", EXPERIMENT],
            cwd=checkout,
            env=os.environ | variables,
            stdout=said,
            stderr=subprocess.STDOUT,
        )


def find_tree(mark: str) -> list[psutil.Process]:
    """Return all living processes of a run, whatever session they are in."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            running = process.status() != psutil.STATUS_ZOMBIE
            if running and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def kill_one(mark: str, rng: random.Random) -> str:
    """Kill a random process of a run; return which."""
    while tree := find_tree(mark):
        chosen = rng.choice(tree)
        with contextlib.suppress(psutil.NoSuchProcess):
            words = chosen.cmdline()
            chosen.kill()
            return " ".join(Path(word).name for word in words[1:4])
    return "nothing: it had just ended"


def read_facts(checkout: Path) -> Facts:
    """Return what a finished run must leave: bytes, one version, no open run."""
    with contextlib.closing(sqlite3.connect(checkout / STORE)) as store:
        versions = store.execute("select name, version from model_versions").fetchall()
    lock = {"dvc.lock": hash_file(checkout / "dvc.lock"), "versions": versions}
    return hash_files(checkout / "artifacts" / EXPERIMENT) | lock | read_runs(checkout)


class Rounds:
    """Rounds of kills in one checkout after another, held against an unbroken run."""

    def __init__(self, home: Path, seed: int) -> None:
        """Raises AssertionError where the unbroken run fails."""
        self._home, self._rng = home, random.Random(seed)
        self._template = home / "template"
        prepare_checkout(self._template)
        self._begin("unbroken")
        began = time.monotonic()
        code = start(self._checkout, uuid.uuid4().hex).wait(SECONDS)
        assert code == 0, f"unbroken: exit code {code}: {self._said()}"
        self.seconds = time.monotonic() - began
        self.facts = read_facts(self._checkout)
        self._begin("0")

    def play(self, number: int) -> tuple[str, list[str]]:
        """Kill once, at a moment within the time that a run takes; return whom, and what is wrong.

        The last of a checkout's kills is known when a run came to its end; what is wrong then is
        that one's.
        """
        mark = uuid.uuid4().hex
        flow = start(self._checkout, mark)
        with contextlib.suppress(subprocess.TimeoutExpired):
            flow.wait(self._rng.uniform(0, self.seconds))
            return "nobody: it had ended", self._judge(flow, number)
        whom = kill_one(mark, self._rng)
        code = flow.wait(SECONDS)
        assert wait_for(lambda: not find_tree(mark), SECONDS), f"{find_tree(mark)}: did not end"
        return whom, [] if code else self._judge(flow, number)

    def finish(self) -> list[str]:
        """Let the checkout at hand come to its end; return what is wrong with it."""
        flow = start(self._checkout, uuid.uuid4().hex)
        flow.wait(SECONDS)
        return self._judge(flow, -1)

    def _judge(self, flow: subprocess.Popen, number: int) -> list[str]:
        if flow.returncode:
            return [f"exit code {flow.returncode}: {self._said()}"]
        wrong = list(find_differences(self.facts, read_facts(self._checkout)))
        self._begin(str(number + 1))
        return wrong

    def _begin(self, name: str) -> None:
        folder = self._home / name
        folder.mkdir()
        self._checkout = folder / "checkout"
        shutil.copytree(self._template, self._checkout, symlinks=True)

    def _said(self) -> str:
        return (self._checkout.parent / "said").read_text()[-1000:]


def main() -> int:
    """Print a line for each kill; return 1 where a run did not end as an unbroken one."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as home:
        rounds = Rounds(Path(home), options.seed)
        print(f"unbroken: {rounds.seconds:.0f} s", flush=True)
        for number in range(options.rounds):
            whom, wrong = rounds.play(number)
            failed += bool(wrong)
            print(f"{number + 1}: killed {whom}: {'; '.join(wrong) or 'fine'}", flush=True)
        wrong = rounds.finish()
        failed += bool(wrong)
        print(f"the last one's end: {'; '.join(wrong) or 'fine'}", flush=True)
    print(f"{options.rounds} kills, {failed} wrong")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
