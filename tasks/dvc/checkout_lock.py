"""One run of the pipeline at a time in a checkout."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from diffusevae.core.disk import make_private
from diffusevae.core.errors import EnvironmentFailure
from tasks.dvc.failure import RWLOCK
from tasks.dvc.process import DVC

CHECKOUT_LOCK = Path("scratch/pipeline.lock")


@contextmanager
def own_checkout() -> Iterator[None]:
    """Hold this checkout for one run of the pipeline, and clear locks that a dead DVC left.

    Raises EnvironmentFailure where another run holds it. The kernel frees the lock of a run that
    is killed.
    """
    make_private(CHECKOUT_LOCK.parent)
    with open(CHECKOUT_LOCK, "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise EnvironmentFailure(
                f"{CHECKOUT_LOCK}: another run of the pipeline (PID {lock.read().strip() or '?'}) "
                "is at work in this folder; wait for its end, or stop it"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        _clear_stale_rwlock()
        yield


def find_holder() -> str | None:
    """Return the PID of the run of the pipeline that is at work in this folder, if one is."""
    if not CHECKOUT_LOCK.is_file():
        return None
    with open(CHECKOUT_LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read().strip() or "?"
    return None


def _clear_stale_rwlock() -> None:
    """Remove DVC's list of busy paths where no DVC is alive here; killed ones leave it behind.

    DVC itself clears entries of dead processes, but neither a file cut short nor a process number
    that now belongs to something else.
    """
    if RWLOCK.exists() and not any(map(_is_dvc_here, psutil.process_iter())):
        RWLOCK.unlink(missing_ok=True)


def _is_dvc_here(process: psutil.Process) -> bool:
    try:
        is_dvc = any(Path(part).name in ("dvc", DVC.name) for part in process.cmdline()[:4])
        return is_dvc and Path(process.cwd()) == Path.cwd()
    except psutil.AccessDenied:  # another user's DVC: leave its lock alone
        return True
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
