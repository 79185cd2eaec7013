"""Small and read-only file systems, for a command and what it starts alone."""

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

SECONDS = 120  # a hang, not a slow machine
# As root of a user's namespace; what is mounted goes with the last of its processes.
MOUNT = 'mount -t tmpfs -o "mode=700,$1" none "$2" && shift 2 && exec "$@"'


def run_on(
    folder: Path, options: str, command: Sequence[str], cwd: Path, **variables: str
) -> subprocess.CompletedProcess:
    """Run a command for which `folder` is an empty file system of its own, in memory.

    options: of mount, such as "size=1m" or "ro". Skips the test where this machine lets no one.
    """
    require_mounts()
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNT, "sh", options, str(folder), *command],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def require_mounts() -> None:
    """Skip the test where this machine lets no one mount."""
    if reason := _find_hindrance():
        pytest.skip(f"this machine mounts nothing for a test: {reason}")


@cache
def _find_hindrance() -> str:
    try:
        done = subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/tmp"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""
