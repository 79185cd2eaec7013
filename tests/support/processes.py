"""Other processes, and what they do in their own time."""

import time
from collections.abc import Callable

import psutil


def alive(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(fact: Callable[[], object], seconds: float = 30) -> bool:
    """Return whether something comes true within some seconds."""
    deadline = time.monotonic() + seconds
    while not fact() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(fact())
