"""What a stage records, on disk until MLflow has it, so that a server that is away loses nothing.

Each stage has a file of JSON lines under ./scratch/unsent, in a folder for the store they are
meant for. Whoever has one open holds a lock on it, which the kernel frees however that one ends.
"""

import errno
import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from diffusevae.tracking.mlflow_store import tracking_uri

FOLDER = Path("scratch/unsent")
NEEDED = {"do", "run", "milliseconds"}  # of every message


class Journal:
    """An open file of lines; `key` is a name that no other journal has."""

    def __init__(self, path: Path) -> None:
        """Open or create it. Raises BlockingIOError where another process or thread has it."""
        self.path = path.absolute()
        self.key = path.stem
        self._file = open(self.path, "a+b", buffering=0)  # what is written survives this process
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise
        self._file.seek(0)
        os.ftruncate(self._file.fileno(), self._file.read().rfind(b"\n") + 1)  # a torn last line

    def append(self, message: dict) -> None:
        """Write one line. Raises OSError, with nothing of it in the file, where it has no room."""
        line = json.dumps(message).encode() + b"\n"
        size = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) != len(line):  # the disk is full, which only the next says
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self._file.fileno(), size)
            raise

    def read(self) -> list[dict]:
        """Return the messages of all whole lines; a power cut or a full disk may have torn some."""
        self._file.seek(0)
        return [
            message
            for line in self._file.read().split(b"\n")
            if (message := _parse(line)) is not None
        ]

    def remove(self) -> None:
        """Delete the file: MLflow has it all."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let others open it."""
        self._file.close()


def create_journal() -> Journal:
    """Return a new journal for the store in use."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    return Journal(folder / f"{time.time_ns()}-{uuid.uuid4().hex}.jsonl")


def open_unsent() -> Iterator[Journal]:
    """Yield the journals for the store in use that nobody has open, the oldest first."""
    for path in sorted(_folder().glob("*.jsonl")):
        try:
            journal = Journal(path)
        except BlockingIOError:
            continue
        try:
            if path.exists() and os.path.getsize(path):  # else whoever had it has just sent it
                yield journal
            else:
                path.unlink(missing_ok=True)
        finally:
            journal.close()


def count_unsent() -> tuple[int, int]:
    """Return how many journals there are for the store in use, and for others."""
    found = [path.parent for path in FOLDER.glob("*/*.jsonl")]
    here = sum(folder.absolute() == _folder() for folder in found)
    return here, len(found) - here


def _parse(line: bytes) -> dict | None:
    """Return a message, or None where the line holds none."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and NEEDED <= message.keys() else None


def _folder() -> Path:
    return FOLDER.absolute() / hashlib.sha256(tracking_uri().encode()).hexdigest()[:16]
