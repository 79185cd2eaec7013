"""A child process that ends with its parent, and output that does not end with its reader.

    python -m diffusevae.core.parent PROCESS COMMAND...    (for programs that are not ours, see
    `tie`)

The child asks for it itself, then looks whether its parent is still there: between a fork and that
moment it may have lost it, and a request made in the fork itself is unsafe beside threads.
"""

import ctypes
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffusevae.core.errors import EnvironmentFailure

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PARENT_VARIABLE = "DIFFUSEVAE_PARENT"  # the process number that a child's parent must have
PR_SET_PDEATHSIG = 1
# Ignored by Python, or by what a script has in its background; Prefect turns TERM into INT.
LEFT_TO_PROGRAMS = (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)


def end_with_parent(number: signal.Signals) -> None:
    """Ask Linux for signal `number` when the parent dies. Raises EnvironmentFailure if it has died.

    A parent that did not say its number in DIFFUSEVAE_PARENT is known by its session: whoever
    adopts orphans is of another one. (torchrun gives each child a session of its own.)
    """
    # The number is not meant for children of this process.
    _end_with(number, os.environ.pop(PARENT_VARIABLE, ""))


def tie(command: Sequence[str | Path]) -> list[str | Path]:
    """Return the command line of a child that becomes another program and ends with this process.

    It ends by SIGTERM. Where this process is gone before, the program does not start.
    """
    return [sys.executable, "-m", "diffusevae.core.parent", str(os.getpid()), *command]


def _end_with(number: signal.Signals, expected: str) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if is_orphan(expected):
        raise EnvironmentFailure("what started this process is gone; start it again")


def is_orphan(expected: str) -> bool:
    """Return whether the parent is another than the process number `expected`, or "" if unsaid."""
    parent = os.getppid()
    if expected:
        return str(parent) != expected
    try:
        return os.getsid(0) not in (os.getpid(), os.getsid(parent))
    except ProcessLookupError:  # it died this moment
        return True


class _Lasting(io.FileIO):
    """A file that takes everything, also where nobody reads it any more or the disk is full."""

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def keep_writing() -> None:
    """Let what this process says be lost where it cannot be written: no work ends because of it.

    Where somebody has put another stream in a standard one's place, that is theirs to answer for.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f"__{name}__"):
            continue
        raw = io.BufferedWriter(_Lasting(stream.fileno(), "w", closefd=False))
        setattr(
            sys, name, io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=True)
        )


def main(parent: str, *command: str) -> int:
    """Become the program of a command line; return the exit code where that is too late."""
    try:
        _end_with(signal.SIGTERM, parent)
    except EnvironmentFailure as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for number in LEFT_TO_PROGRAMS:
        signal.signal(number, signal.SIG_DFL)
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
