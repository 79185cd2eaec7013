"""How a process is stopped by a signal: at once, or where it trains, at the next step.

The first signal counts. Further ones change nothing, so that a checkpoint is written to its end.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_first: int | None = None  # the signal that came
_is_deferred = False


class Stopped(SystemExit):
    """A signal asked this process to stop. Its exit code is 128 + the signal's number."""

    code: int

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name

    def __str__(self) -> str:
        return f"stopped by {self.name}; run it again to go on"


def watch(numbers: Iterable[signal.Signals] = SIGNALS) -> None:
    """Raise Stopped when a signal comes that asks to stop; what nohup ignores stays ignored."""
    for number in numbers:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _ask)


def ignore() -> None:
    """Leave the end to another process, which has more to do before it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def is_asked() -> bool:
    """Return whether a signal has come."""
    return _first is not None


def check() -> None:
    """Raise Stopped if a signal has come."""
    if _first is not None:
        raise Stopped(_first)


@contextmanager
def deferred(yes: bool = True) -> Iterator[None]:
    """Within the block a signal is noted only, for `check`; with `yes` false it raises at once."""
    global _is_deferred
    before, _is_deferred = _is_deferred, yes
    try:
        if not yes:
            check()
        yield
    finally:
        _is_deferred = before


def _ask(number: int, frame: FrameType | None) -> None:
    global _first
    if _first is None:
        _first = number
        if not _is_deferred:
            raise Stopped(number)
