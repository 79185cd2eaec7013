"""Death at every point at which something is written, and what the next run makes of it.

    python -m tests.faults.crashes --points 200

Each operation of `tests.faults.operations` is run once to its end, its points counted
(tests/faults/hook). Then it is killed at points spread over all of them, by turns the process at
work alone and every process at once, and run again: that run must end with what the unbroken one
left.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.operations import OPERATIONS, Facts
from tests.support.checkouts import ROOT
from tests.support.processes import alive, wait_for

HOOK = Path(__file__).with_name("hook")
SECONDS = 300  # a hang, not a slow machine
REACHES = ("one", "all")


@dataclass(frozen=True)
class End:
    """How a run ended: its exit code, the points that it passed, and what it said."""

    code: int
    points: tuple[str, ...]
    said: str


@dataclass(frozen=True)
class Crash:
    """A death at a point (what happened there), and what the next run left different."""

    operation: str
    reach: str
    point: str
    wrong: tuple[str, ...]


class Subject:
    """An operation that was run to its end: its folder before, its facts after, its points."""

    def __init__(self, name: str, home: Path) -> None:
        """Raises AssertionError where the unbroken run fails."""
        self.name, self._home = name, home
        self._operation = OPERATIONS[name]
        self._template = home / f"{name}-template"
        self._operation.prepare(self._template)
        with self._copy() as folder:
            end = self._run(folder, 0, "one")
            assert end.code == 0 and end.points, f"{name}: {end.code}, {end.said}"
            self.num_points = len(end.points)
            self.facts = self._operation.read_facts(folder)

    def crash(self, point: int, reach: str) -> Crash:
        """Die at a point, run again, and say what is not as after an unbroken run."""
        with self._copy() as folder:
            first = self._run(folder, point, reach)
            if len(first.points) < point:  # processes take turns: once in a while one point fewer
                return Crash(self.name, reach, f"{point} not reached", ())
            again = self._run(folder, 0, "one")
            if again.code:
                wrong = (f"exit code {again.code}: {again.said[-500:]}",)
            else:
                wrong = tuple(find_differences(self.facts, self._operation.read_facts(folder)))
        return Crash(self.name, reach, first.points[point - 1], wrong)

    @contextmanager
    def _copy(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._home)) / "checkout"
        shutil.copytree(self._template, folder, symlinks=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder.parent, ignore_errors=True)

    def _run(self, folder: Path, point: int, reach: str) -> End:
        with (
            tempfile.TemporaryDirectory(dir=self._home) as ledger,
            open(f"{ledger}/said", "w+") as said,
        ):
            variables = {
                "FAULT_SCOPE": str(folder),
                "FAULT_LEDGER": ledger,
                "FAULT_POINT": str(point),
                "FAULT_REACH": reach,
                "PYTHONPATH": os.pathsep.join(map(str, (HOOK, ROOT / "src", ROOT))),
                "OMP_NUM_THREADS": "1",
            }
            code = subprocess.run(
                [sys.executable, "-m", *self._operation.arguments],
                cwd=folder,
                env=os.environ | variables,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
            ).returncode
            wait_for_all(Path(ledger) / "pids")
            names = Path(ledger) / "names"
            points = names.read_text().splitlines() if names.exists() else []
            said.seek(0)
            return End(code, tuple(points), said.read())


def wait_for_all(pids: Path) -> None:
    """Wait for what outlives the first process, such as one that records its end."""

    def ended() -> bool:
        return not any(alive(int(line)) for line in pids.read_text().split())

    assert not pids.exists() or wait_for(ended, SECONDS), f"{pids.read_text()}: did not end"


def find_differences(expected: Facts, found: Facts) -> Iterator[str]:
    """Yield a line for each fact that is another."""
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            yield f"{name}: {expected.get(name)} -> {found.get(name)}"


def spread(count: int, over: int) -> list[int]:
    """Return `count` of the numbers 1 to `over`, at even distances; all where there are fewer."""
    count = min(count, over)
    return [1 + round(i * (over - 1) / max(count - 1, 1)) for i in range(count)]


def main() -> int:
    """Print a line for each death and return 1 where one was not mended."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crashes")
    parser.add_argument("--points", type=int, default=200, help="of all operations together")
    parser.add_argument("--operation", action="append", choices=list(OPERATIONS))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    names = options.operation or list(OPERATIONS)
    each = -(-options.points // len(names))
    failed = done = 0
    with tempfile.TemporaryDirectory() as home, ThreadPoolExecutor(options.jobs) as pool:
        for name in names:
            subject = Subject(name, Path(home))
            print(f"{name}: {subject.num_points} points", flush=True)
            points = spread(each, subject.num_points)
            reaches = [REACHES[i % 2] for i in range(len(points))]
            for crash in pool.map(subject.crash, points, reaches):
                done += 1
                failed += bool(crash.wrong)
                verdict = "; ".join(crash.wrong) or "as unbroken"
                print(f"{crash.operation} {crash.reach} {crash.point}: {verdict}", flush=True)
    print(f"{done - failed} of {done} deaths left the next run as an unbroken one")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
