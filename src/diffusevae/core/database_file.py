"""SQLite files that cannot be used: damaged, locked or no files, told in one line."""

import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from diffusevae.core.errors import EnvironmentFailure, Failure

WAIT_SECONDS = 30  # for another process's transaction
SILENT_SECONDS = 2  # of these, before it is said
LOCK_BYTES = 0x4000_0000  # where SQLite's locks of a file begin
DAMAGED = ("not a database", "malformed", "not decode", "unsupported file format")
OF_THE_DISK = ("disk is full", "disk I/O error")


def require(path: Path) -> None:
    """Raise EnvironmentFailure where the database cannot be written; where there is none, return.

    Waits up to WAIT_SECONDS for a process that holds it, and says so. SQLite itself compares the
    length in its header with the file's; an empty file is a database without tables.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise EnvironmentFailure(f"{path}: is no file; move away what stands in its place")
    except FileNotFoundError:
        return
    with failures_named(path):
        try:
            _try_to_write(path, min(SILENT_SECONDS, WAIT_SECONDS))
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            print(
                f"waiting for {path}, up to {WAIT_SECONDS:g} s: it is held by "
                f"{_name_holders(path)}",
                flush=True,
            )
            _try_to_write(path, max(0, WAIT_SECONDS - SILENT_SECONDS))


def require_address(path: Path) -> None:
    """Raise EnvironmentFailure where a database's address cannot name the path.

    What follows a ? would be options, and the file another one; a " ends a name in SQL.
    """
    if found := {*'?"\n'} & {*str(path)}:
        raise EnvironmentFailure(
            f"{str(path)!r}: no database can be at a path with {min(found)!r}; rename that folder"
        )


def require_whole(path: Path) -> None:
    """Do as `require`, and look at every page of the file: for one that others than we use."""
    require(path)
    if not path.exists():
        return
    with failures_named(path), closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as database:
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"malformed: {found}")


@contextmanager
def failures_named(path: Path) -> Iterator[None]:
    """Turn what SQLite raises, or raised below another error, into EnvironmentFailure."""
    started = time.monotonic()
    try:
        yield
    except Failure:
        raise
    except Exception as error:
        cause = find_cause(error)
        if cause is None:
            raise
        raise explain(cause, path, time.monotonic() - started) from error


def find_cause(error: BaseException | None) -> Exception | None:
    """Return the first error of SQLite's, or of SQLAlchemy's, in a chain of causes.

    None where there is none, or where it is of a row that is there already.
    """
    from sqlalchemy.exc import IntegrityError, SQLAlchemyError  # slow, and rarely asked for

    while error is not None and not isinstance(error, (sqlite3.Error, SQLAlchemyError)):
        error = error.__cause__ or error.__context__
    return None if isinstance(error, (sqlite3.IntegrityError, IntegrityError)) else error


def explain(error: Exception, path: Path, seconds: float | None = None) -> EnvironmentFailure:
    """Return what is wrong with the database, and the mend; `seconds` is how long was waited."""
    reason = (str(getattr(error, "orig", None) or error).splitlines() or [""])[0]
    if "locked" in reason:
        waited = "" if seconds is None else f" after {seconds:.0f} s"
        return EnvironmentFailure(
            f"{path}: is locked still{waited}, by {_name_holders(path)}; "
            "wait for its end or stop it, then start again"
        )
    if any(text in reason for text in OF_THE_DISK):
        return EnvironmentFailure(f"{path}: cannot be written ({reason}); free disk space")
    if "unable to open" in reason or "readonly" in reason:
        return EnvironmentFailure(
            f"{path}: cannot be opened ({reason}); mend its permissions and its folder's"
        )
    word = "damaged" if any(text in reason for text in DAMAGED) else "not what it should be"
    return EnvironmentFailure(
        f"{path}: is {word} ({reason[:120]}); move it away to begin anew, or "
        "put a copy of yours in its place"
    )


def _try_to_write(path: Path, seconds: float) -> None:
    with closing(sqlite3.connect(path, timeout=seconds, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        database.execute("ROLLBACK")


def _name_holders(path: Path) -> str:
    """Return the processes of this machine that hold SQLite's locks of the file, as Linux says."""
    with suppress(OSError, ValueError):
        inode = path.stat().st_ino
        rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        held = {
            int(row[4])
            for row in rows
            if len(row) == 8
            and row[1] == "POSIX"
            and row[5].endswith(f":{inode}")
            and int(row[6]) >= LOCK_BYTES
        }
        if held:
            return ", ".join(f"process {pid}" for pid in sorted(held))
    return "another process"
