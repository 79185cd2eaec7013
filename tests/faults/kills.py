"""Pipelines killed at random moments, again and again, end as one that was left alone.

    python -m tests.faults.kills --rounds 200 [--jobs 2] [--shared]

In each round `diffusevae run smoke` goes on in its checkout until, at a random moment, a random
process of its tree is killed outright: flow, DVC, stage, recorder or Prefect's server. A run that
comes to its end must leave the bytes of an unbroken one, one version in the registry and no run
that MLflow takes for at work; then another checkout begins anew. Moments are early more often than
late, for a start is quick, and what is finished is kept. `--shared`: two checkouts at once, which
share DVC's cache and, in a PostgreSQL, the trials of their searches. Who was done when decides
what these find, so the two are held against each other.
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg

from tests.faults.crashes import find_differences
from tests.faults.operations import STORE, Facts, hash_file, hash_files, prepare_checkout, read_runs
from tests.support.processes import wait_for
from tests.support.services import Postgres

EXPERIMENT = "smoke"
TRIALS = 2  # of each of its searches
SECONDS = 1800  # a hang, not a slow machine
MARK = "FAULT_TREE"  # an environment variable that all processes of a run have
NOBODY = "nobody: all had ended"


class Checkout:
    """A copy of the template, in which the pipeline is run until it has come to its end."""

    def __init__(self, template: Path, folder: Path, variables: dict[str, str]) -> None:
        self.folder, self._variables = folder / "checkout", variables
        shutil.copytree(template, self.folder, symlinks=True)
        self.code: int | None = None

    def start(self) -> None:
        """Start the pipeline."""
        self._mark = uuid.uuid4().hex
        code = {"PYTHONPATH": str(self.folder / "src"), "OMP_NUM_THREADS": "1"}
        with open(self.folder.parent / "said", "a") as said:
            self._flow = subprocess.Popen(
                [sys.executable, "-m", "diffusevae", "run", EXPERIMENT],
                cwd=self.folder,
                env=os.environ | code | self._variables | {MARK: self._mark},
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def ended(self) -> bool:
        """Return whether the pipeline has ended."""
        return self._flow.poll() is not None

    def wait(self) -> None:
        """Wait for the end of the pipeline, and of all that it started."""
        self.code = self._flow.wait(SECONDS)
        assert wait_for(lambda: not self._find_tree(), SECONDS), f"{self._find_tree()}: do not end"

    def kill_one(self, rng: random.Random) -> str:
        """Kill a random process of the run; return which."""
        while tree := self._find_tree():
            chosen = rng.choice(tree)
            with contextlib.suppress(psutil.NoSuchProcess):
                words = chosen.cmdline()
                chosen.kill()
                return " ".join(Path(word).name for word in words[1:4])
        return NOBODY

    def said(self) -> str:
        """Return the last of what the runs said."""
        return (self.folder.parent / "said").read_text()[-1000:]

    def read_facts(self) -> Facts:
        """Return what a finished run must leave: bytes, one version, no open run."""
        with contextlib.closing(sqlite3.connect(self.folder / STORE)) as store:
            versions = store.execute("select name, version from model_versions").fetchall()
        lock = {"dvc.lock": hash_file(self.folder / "dvc.lock"), "versions": versions}
        return hash_files(self.folder / "artifacts" / EXPERIMENT) | lock | read_runs(self.folder)

    def _find_tree(self) -> list[psutil.Process]:
        """Return all living processes of the run, whatever session they are in."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                running = process.status() != psutil.STATUS_ZOMBIE
                if running and process.environ().get(MARK) == self._mark:
                    found.append(process)
        return found


class Rounds:
    """Kills in checkouts that are at work together, until all have ended; then in new ones.

    `begin` makes them, `judge` says what is wrong with those that have come to their end.
    """

    def __init__(
        self,
        begin: Callable[[], list[Checkout]],
        judge: Callable[[list[Checkout]], list[str]],
        seconds: float,
        rng: random.Random,
    ) -> None:
        self._begin, self._judge, self._seconds, self._rng = begin, judge, seconds, rng
        self._checkouts = begin()
        self._running: list[Checkout] = []

    def play(self) -> tuple[str, list[str] | None]:
        """Kill once, at a moment within the time that a run takes; return whom, and what is wrong,
        which is known when all runs came to their end, else None.
        """
        self._start()
        moment = self._seconds * self._rng.random() ** 2
        wait_for(lambda: all(each.ended() for each in self._running), moment)
        alive = [each for each in self._running if not each.ended()]
        if not alive:
            return NOBODY, self._collect()
        chosen = self._rng.choice(alive)
        whom = chosen.kill_one(self._rng)
        chosen.wait()
        self._running.remove(chosen)
        return whom, None if any(each.code != 0 for each in self._checkouts) else self._collect()

    def finish(self) -> list[str]:
        """Let the checkouts at hand come to their end; return what is wrong with them."""
        self._start()
        return self._collect()

    def _start(self) -> None:
        for each in self._checkouts:
            if each.code != 0 and each not in self._running:
                each.start()
                self._running.append(each)

    def _collect(self) -> list[str]:
        """Return what is wrong with the checkouts, of whose runs none was killed, and begin anew
        where they are at their end.
        """
        for each in self._running:
            each.wait()
        self._running = []
        failed = [each for each in self._checkouts if each.code]
        if failed:
            return [f"exit code {each.code}: {each.said()}" for each in failed]
        wrong = self._judge(self._checkouts)
        for each in self._checkouts:
            shutil.rmtree(each.folder.parent, ignore_errors=True)
        self._checkouts = self._begin()
        return wrong


class Alone:
    """One checkout at a time, held against an unbroken run."""

    def __init__(self, template: Path, home: Path) -> None:
        """Raises AssertionError where the unbroken run fails."""
        self._template, self._home = template, home
        [unbroken], began = self.begin(), time.monotonic()
        unbroken.start()
        unbroken.wait()
        assert unbroken.code == 0, f"unbroken: exit code {unbroken.code}: {unbroken.said()}"
        self.seconds = time.monotonic() - began
        self._facts = unbroken.read_facts()

    def begin(self) -> list[Checkout]:
        """Return a new checkout."""
        return [Checkout(self._template, Path(tempfile.mkdtemp(dir=self._home)), {})]

    def judge(self, checkouts: list[Checkout]) -> list[str]:
        """Return what is not as after the unbroken run."""
        return list(find_differences(self._facts, checkouts[0].read_facts()))


class Shared:
    """Two checkouts that share a cache and a database, held against each other."""

    def __init__(self, template: Path, home: Path, postgres: Postgres) -> None:
        self._template, self._home, self._postgres = template, home, postgres

    def begin(self) -> list[Checkout]:
        """Return two new checkouts, with a new cache and database."""
        home = Path(tempfile.mkdtemp(dir=self._home))
        self._database = f"kills_{uuid.uuid4().hex[:12]}"
        storage = {"DIFFUSEVAE_OPTUNA_STORAGE": self._postgres.create(self._database)}
        pair = [Checkout(self._template, home / name, storage) for name in ("a", "b")]
        for each in pair:
            place = f"[cache]\n    dir = {home / 'cache'}\n"
            (each.folder / ".dvc/config.local").write_text(place)
        return pair

    def judge(self, checkouts: list[Checkout]) -> list[str]:
        """Return what is not alike in both, and the searches with too few or too many trials."""
        wrong = list(find_differences(*(each.read_facts() for each in checkouts)))
        query = "select study_id, count(*) from trials where state in %s group by 1"
        with psycopg.connect(self._postgres.url(self._database, "postgresql")) as database:
            states = "('COMPLETE', 'PRUNED', 'RUNNING', 'WAITING')"
            trials = database.execute(query % states).fetchall()
            [[at_work]] = database.execute("select count(*) from trials where state = 'RUNNING'")
        if [number for _, number in trials] != [TRIALS, TRIALS] or at_work:
            wrong.append(f"trials of the searches: {trials}, at work {at_work}")
        return wrong


def play_all(rounds: Rounds, count: int, name: str) -> int:
    """Kill so often, with a line for each; return how many rounds went wrong."""
    failed = 0
    for number in range(1, count + 1):
        began = time.monotonic()
        whom, wrong = rounds.play()
        failed += bool(wrong)
        took = time.monotonic() - began
        said = "goes on" if wrong is None else "; ".join(wrong) or "as unbroken"
        print(f"{name}{number}: killed {whom}, {took:.0f} s: {said}", flush=True)
    wrong = rounds.finish()
    print(f"{name}none, to the end: {'; '.join(wrong) or 'as unbroken'}", flush=True)
    return failed + bool(wrong)


def main() -> int:
    """Print a line for each kill; return 1 where a run did not end as an unbroken one."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--shared", action="store_true", help="two checkouts, one cache, one study")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        template = home / "template"
        prepare_checkout(template)
        alone = Alone(template, home)
        print(f"unbroken: {alone.seconds:.0f} s", flush=True)
        postgres = Postgres() if options.shared else None
        if postgres:
            stack.callback(postgres.remove)

        def play(job: int) -> int:
            kind = Shared(template, home, postgres) if postgres else alone
            rng = random.Random(options.seed + job)
            rounds = Rounds(kind.begin, kind.judge, alone.seconds, rng)
            count = len(range(job, options.rounds, options.jobs))
            return play_all(rounds, count, f"job {job + 1}, kill ")

        with ThreadPoolExecutor(options.jobs) as pool:
            failed = sum(pool.map(play, range(options.jobs)))
    print(f"{options.rounds} kills, {failed} wrong")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
