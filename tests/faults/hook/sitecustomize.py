"""Numbers what every Python process of a tree does to files, and dies at one of these points.

Python imports it at the start of each process where this folder is in PYTHONPATH, so nothing in the
product knows of it. Points are: a file opened for writing, a name made, moved or removed, a
flush to the disk, a commit of SQLite; each just before it happens, below FAULT_SCOPE alone.
FAULT_LEDGER is a folder with the number of points so far, and the processes; FAULT_POINT the number
to die at (0: none), FAULT_REACH who dies there: the process (`one`), or all (`all`), as
where the power fails.
"""

import fcntl
import os
import signal
import sqlite3
import sys
import threading

SCOPE = os.environ.get("FAULT_SCOPE", "")
NAMES = {"os.rename", "os.remove", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_inside = threading.local()


def watch() -> None:
    """Number the points of this process from now on."""
    ledger = os.environ["FAULT_LEDGER"]
    count = os.open(os.path.join(ledger, "count"), os.O_RDWR | os.O_CREAT, 0o600)
    pids = os.open(os.path.join(ledger, "pids"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    names = os.open(os.path.join(ledger, "names"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(pids, b"%d\n" % os.getpid())
    fatal, everyone = int(os.environ["FAULT_POINT"]), os.environ["FAULT_REACH"] == "all"

    def pass_point(event: str, path: str) -> None:
        fcntl.flock(count, fcntl.LOCK_EX)
        number = int(os.pread(count, 20, 0) or b"0") + 1
        os.pwrite(count, b"%d" % number, 0)
        os.write(names, f"{number} {event} {os.path.relpath(path, SCOPE)}\n".encode())
        if number == fatal:
            die(ledger, everyone)
        fcntl.flock(count, fcntl.LOCK_UN)

    def hook(event: str, arguments: tuple) -> None:
        if getattr(_inside, "hook", False):
            return
        _inside.hook = True
        try:
            if event == "open":
                path, _, flags = arguments
                if isinstance(flags, int) and flags & WRITES and is_in_scope(path):
                    pass_point(event, os.fspath(path))
            elif event in NAMES and is_in_scope(arguments[0]):
                pass_point(event, os.fspath(arguments[0]))
        finally:
            _inside.hook = False

    sys.addaudithook(hook)
    wrap_fsync(pass_point)
    wrap_sqlite(pass_point)


def die(ledger: str, everyone: bool) -> None:
    """End this process, and all others of the tree where everyone dies, without a chance."""
    if everyone:
        with open(os.path.join(ledger, "pids")) as file:
            for line in file:
                try:
                    if int(line) != os.getpid():
                        os.kill(int(line), signal.SIGKILL)
                except ProcessLookupError:
                    pass
    os.kill(os.getpid(), signal.SIGKILL)


def is_in_scope(path: object) -> bool:
    """Return whether a path is one of the checkout's, and no compiled module."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    full = os.path.abspath(os.fsdecode(path))
    return full.startswith(SCOPE + os.sep) and "__pycache__" not in full


def wrap_fsync(pass_point) -> None:
    """Make every flush to the disk a point."""
    for name in ("fsync", "fdatasync"):
        flush = getattr(os, name)

        def flush_here(file, flush=flush, name=name):
            number = file if isinstance(file, int) else file.fileno()
            path = os.readlink(f"/proc/self/fd/{number}")
            if is_in_scope(path):
                pass_point(name, path)
            return flush(file)

        setattr(os, name, flush_here)


def wrap_sqlite(pass_point) -> None:
    """Make every commit of SQLite a point."""
    connect = sqlite3.connect

    class Connection(sqlite3.Connection):
        def commit(self) -> None:
            if self.in_transaction:
                pass_point("commit", SCOPE)
            super().commit()

    def connect_here(*arguments, **options):
        return connect(*arguments, **{"factory": Connection} | options)

    sqlite3.connect = sqlite3.dbapi2.connect = connect_here


if SCOPE:
    watch()
