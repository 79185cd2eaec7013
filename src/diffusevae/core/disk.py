"""Files of our own: room and permission asked for first, then written whole or not at all."""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusevae.core.errors import EnvironmentFailure

SCRATCH = Path("scratch")  # checkpoints, journals, searches
LOCKS = SCRATCH / "locks"


def require_writable(folder: Path) -> None:
    """Make `folder`. Raises EnvironmentFailure that names it if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A trial: mode bits say nothing for root or on a read-only file system.
        tempfile.TemporaryFile(dir=folder).close()
    except (FileExistsError, NotADirectoryError) as error:
        raise EnvironmentFailure(
            f"cannot write into {folder}: {error.strerror}; move away what stands in its place"
        ) from error
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot write into {folder}: {error.strerror}; mend the folder's "
            "permissions or free disk space"
        ) from error


def require_place(path: Path) -> None:
    """Raise EnvironmentFailure where no file `path` can be written; leave what is there as it is.

    For what is written at the end of long work, in a folder that is there.
    """
    mend = "name another file"
    if path.is_dir() or not path.parent.is_dir():
        reason = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise EnvironmentFailure(f"{path}: {reason}; {mend}")
    try:
        if path.exists():
            open(path, "ab").close()
        else:
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise EnvironmentFailure(
            f"{path}: {error.strerror}; {mend}, or mend the permissions"
        ) from error


def make_private(folder: Path) -> None:
    """Make a folder that other users of this machine cannot look into, whatever lies in it.

    One that was open to them is closed, which is said. Raises OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_mode & 0o077 and found.st_uid == os.getuid():
        folder.chmod(0o700)
        print(
            f"{folder}: was open to other users of this machine; now it is yours alone (0700)",
            file=sys.stderr,
            flush=True,
        )


def require_room(folder: Path, num_bytes: int) -> None:
    """Raise EnvironmentFailure if the disk of `folder` has less than `num_bytes` free."""
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise EnvironmentFailure(
            f"not enough room in {folder}: needs {megabytes(num_bytes)} MB, "
            f"{megabytes(free)} MB free; free disk space"
        )


def megabytes(num_bytes: float) -> str:
    """Return a size in units of 10^6 bytes with three digits, as the user reads it."""
    return f"{num_bytes / 1e6:.3g}" if num_bytes < 1e8 else f"{num_bytes / 1e6:.0f}"


def write_file(path: Path, content: bytes) -> None:
    """Write a file that appears under its name when it is complete and on the disk.

    Raises EnvironmentFailure, with nothing left behind, if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EnvironmentFailure(
            f"cannot write {path}: {error.strerror}; free disk space or mend "
            "the folder's permissions"
        ) from error


@contextmanager
def lock(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path`, waiting for another process that does; `on_wait` is told so.

    The kernel frees the lock with its holder, however that one ends: no stale lock is possible.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def own_output(folder: Path) -> Iterator[None]:
    """Keep other processes of this checkout from making `folder`, however they spell its path.

    Raises EnvironmentFailure where another one is at it, or where it cannot be made.
    """
    _require_folder(folder)
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    path = LOCKS / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise EnvironmentFailure(
                f"{folder}: held by {holder}; wait for its end, or stop it"
            ) from error
        file.truncate(0)
        file.write(f"pid {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        yield


def _require_folder(folder: Path) -> None:
    """Raise EnvironmentFailure where nothing can be written into `folder`; leave no trace."""
    existing = folder.resolve()
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.is_dir():
        raise EnvironmentFailure(
            f"{folder}: {existing} is no folder; move away what stands in its place"
        )
    require_writable(existing)


def _flush_folder(folder: Path) -> None:
    """Put a rename on the disk: it is kept in the folder, not in the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
