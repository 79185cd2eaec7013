"""The stages of a run on a terminal: a line for each, with a bar, the time left, the last loss.

It is fed with the lines that DVC and the stages print anyway; where the output is no terminal,
these are what is shown.
"""

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

STARTS = re.compile(r"Running stage '(?P<target>.+)':")
SHARE = re.compile(
    r"(?P<label>(?:trial (?P<trial>\S+)(?: \(of (?P<trials>\d+)\))?  )?"
    r"(?:epoch (?P<epoch>\d+) of (?P<epochs>\d+)|.+)): (?P<percent>\d+)%"
)
LOSS = re.compile(r".*\b(\w*loss|Frechet distance) +(\S+)")  # the last one of a line
LEAST = 0.02  # of a bar: what it has taken by then tells what is left
TOLD = 20  # last lines of a stage that failed


class Screen:
    """The lines of the stages that have begun, in their order."""

    def __init__(self, console: Console, targets: int | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=16),
            _TimeColumn(),
            TextColumn("{task.fields[now]}", table_column=Column(no_wrap=True, ratio=1)),
            console=console,
            expand=True,
        )
        self._targets, self._stage = targets, ""
        self._lines: deque[str] = deque(maxlen=TOLD)
        self._tasks: dict[str, TaskID] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Show it while the block runs; of a stage that failed the last lines stay."""
        with self._progress:
            try:
                yield
            except Exception:
                for line in self._lines:
                    self._progress.console.print(f"  {line}", markup=False, highlight=False)
                raise

    def tell(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """Return what takes every line of output, and says those that are no mere share."""

        def take(line: str) -> None:
            self.show(line)
            if not SHARE.fullmatch(line):
                say(line)

        return take

    def show(self, line: str) -> None:
        """Take a line of DVC or of the stage at work."""
        if starts := STARTS.fullmatch(line):
            self.begin(starts["target"])
        elif self._stage:
            self._take(line)

    def begin(self, target: str) -> None:
        """Take that a stage begins, and so that the one before it is done."""
        if self._stage and self._stage != target:
            self.finish(self._stage, ran=True)
        self._stage = target
        self._lines.clear()
        if target not in self._tasks:
            number = f"{len(self._tasks) + 1:2}/{self._targets} " if self._targets else ""
            self._tasks[target] = self._progress.add_task(
                f"{number}{target}", total=1.0, now="", since=(time.monotonic(), 0.0), label=""
            )

    def finish(self, target: str, ran: bool) -> None:
        """Take that a stage is done: it ran, or was up to date or taken from DVC's cache."""
        self.begin(target)
        done = self._progress.tasks[self._tasks[target]]
        said = done.fields["now"].partition(" · ")[2] if ran else "nothing to do"
        self._progress.update(done.id, completed=1.0, now=said)
        self._progress.stop_task(done.id)
        self._stage = ""

    def _take(self, line: str) -> None:
        task = self._progress.tasks[self._tasks[self._stage]]
        if found := SHARE.fullmatch(line):
            share = read_share(found)
            label = re.sub(r"\d+", "", found["label"])
            if label != task.fields["label"] or share < task.completed:  # another work's bar
                task.fields["since"] = (time.monotonic(), share)
            loss = task.fields["now"].partition(" · ")[2]
            now = " · ".join(filter(None, [" ".join(found["label"].split()), loss]))
            self._progress.update(task.id, completed=share, now=now, label=label)
            return
        self._lines.append(line)
        if loss := LOSS.match(line):
            name, value = loss.groups()
            now = f"{task.fields['now'].partition(' · ')[0]} · {name.replace('_', ' ')} {value}"
            self._progress.update(task.id, now=now)


class _TimeColumn(ProgressColumn):
    """How long a stage took, or how long its work at hand will still take."""

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"{_clock(task.elapsed or 0):>8}     ")
        since, share = task.fields["since"]
        left = ""
        if task.completed - share >= LEAST:
            taken = time.monotonic() - since
            left = f"{_clock(taken * (1 - task.completed) / (task.completed - share)):>8} left"
        return Text(left or f"{_clock(task.elapsed or 0):>8}     ")


SCREEN: ContextVar[Screen | None] = ContextVar("SCREEN", default=None)  # that is shown now


@contextmanager
def show_stages(targets: int | None = None) -> Iterator[Screen | None]:
    """Show stages on the terminal while the block runs; None where there is no terminal.

    targets: of how many stages. Meanwhile Prefect says no more than warnings there.
    """
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    screen = Screen(console, targets)
    shown = SCREEN.set(screen)
    try:
        with _quiet(console), screen.open():
            yield screen
    finally:
        SCREEN.reset(shown)


@contextmanager
def _quiet(console: Console) -> Iterator[None]:
    """Let what loggers print on consoles, Prefect's, be warnings above the lines alone."""
    handlers = [each for each in logging.getLogger().handlers if hasattr(each, "console")]
    before = [(each, each.level, each.console) for each in handlers]
    for each in handlers:
        each.setLevel(logging.WARNING)
        each.console = console
    try:
        yield
    finally:
        for each, level, own in before:
            each.setLevel(level)
            each.console = own


def read_share(found: Mapping[str, str | None] | re.Match[str]) -> float:
    """Return how far, in [0,1], the whole is of which a line of SHARE tells a part."""
    share = int(found["percent"] or 0) / 100
    if found["epoch"]:
        share = (int(found["epoch"]) - 1 + share) / int(found["epochs"] or 1)
    if found["trials"]:
        share = (int(found["trial"] or 0) + share) / int(found["trials"])
    return share


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
