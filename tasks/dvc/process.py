"""DVC as a child process: what has changed, and one target brought up to date.

Output streams line by line; the child and all its children end when this process ends, however it
ends; what goes wrong is raised as one line.
"""

import configparser
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from diffusevae.core.errors import EnvironmentFailure
from diffusevae.core.parent import PARENT_VARIABLE
from tasks.checkout import require_checkout
from tasks.dvc.failure import explain_end

SECONDS_TO_STOP = 10  # between TERM and KILL: time to write a checkpoint
DVC = Path(__file__).with_name("command_line.py")
# What DVC says between stages about itself; what stages say is never so.
DVC_HINT = re.compile(
    r"(Stage '.+' didn't change, skipping|(Updating|Generating) lock file 'dvc.lock'"
    r"|To track the changes with git, run:|\s+git add dvc.lock( |$)|To enable auto staging, run:"
    r"|\s+dvc config core.autostage true|Use `dvc push` to send your updates"
    r"|Data and pipelines are up to date)"
)


def changed_stages(*targets: str) -> set[str]:
    """Return which of the targets DVC finds changed: none, nothing would run.

    A stage whose inputs another of them will make anew is not named. Raises EnvironmentFailure.
    """
    # By name: for --with-deps DVC makes every stage of every experiment, which takes seconds.
    with _dvc("status", "--json", *targets, stderr=subprocess.PIPE) as process:
        out, err = process.communicate()
    if process.returncode != 0:
        raise explain_end(targets[-1], process.returncode, err.splitlines())
    return set(json.loads(out))


def reproduce(
    target: str,
    say: Callable[[str], None],
    variables: Mapping[str, str],
    needed: bool = False,
    remote: bool = False,
) -> bool:
    """Bring one stage up to date; return whether it ran. `say` gets each line of output.

    The stages before it are not looked at: bring them up to date first, or let it be done (needed).
    remote: take what the run cache names from DVC's remote instead of making it, while that one
    answers. `variables` are added to the environment. Raises InputError or EnvironmentFailure with
    the stage's own line, StageFailure for any other end.
    """
    command = ["repro", *([] if needed else ["--single-item"]), *(["--pull"] * remote), target]
    lines: deque[str] = deque(maxlen=1000)
    ran = False
    with _dvc(*command, stderr=subprocess.STDOUT, variables=variables) as process:
        assert process.stdout is not None  # a pipe
        for line in process.stdout:
            line = line.rstrip()
            lines.append(line)
            ran |= line == f"Running stage '{target}':"
            if line and not DVC_HINT.match(line):
                say(line)
        process.wait()
    if process.returncode == 0:
        return ran
    failure = explain_end(target, process.returncode, lines)
    if remote and not ran:
        say(f"DVC's remote: {failure}; going on with what is here")
        return reproduce(target, say, variables, needed)
    raise failure


def find_cache() -> Path:
    """Return the folder of DVC's cache, which several checkouts may share. Raises
    EnvironmentFailure.
    """
    with _dvc("cache", "dir", stderr=subprocess.PIPE) as process:
        out, err = process.communicate()
    if process.returncode != 0:
        raise explain_end("cache", process.returncode, err.splitlines())
    return Path(out.strip())


def has_remote() -> bool:
    """Return whether this checkout has a default remote (`dvc remote add --default`)."""
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.read([".dvc/config", ".dvc/config.local"])
    return found.has_option("core", "remote")


def pull(target: str) -> None:
    """Take from the remote what dvc.lock names for a target and all before it, and the run cache.

    What the remote does not have is left out. Raises EnvironmentFailure.
    """
    _transfer("pull", "--run-cache", "--with-deps", "--allow-missing", target)


def push(target: str) -> None:
    """Send what a target and all before it consist of to the remote, and the run cache.

    Raises EnvironmentFailure.
    """
    _transfer("push", "--run-cache", "--with-deps", target)


def _transfer(*command: str) -> None:
    with _dvc(*command, stderr=subprocess.STDOUT) as process:
        out, _ = process.communicate()
    if process.returncode != 0:
        raise explain_end(" ".join(command), process.returncode, out.splitlines())


@contextmanager
def _dvc(
    *arguments: str, stderr: int, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """Start DVC in a session of its own; at the end nothing of the session is left alive."""
    if importlib.util.find_spec("dvc") is None:
        raise EnvironmentFailure("dvc: is not installed; run `make setup`")
    require_checkout()
    # Stages call `python`: it must be this environment's. Unbuffered, their lines arrive at once.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    own = {"PATH": path, "PYTHONUNBUFFERED": "1", PARENT_VARIABLE: str(os.getpid())}
    environment = os.environ | own | dict(variables or {})
    process = subprocess.Popen(
        [sys.executable, "-P", DVC, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        try:
            _end_group(process, signal.SIGTERM, SECONDS_TO_STOP)
        finally:
            _end_group(process, signal.SIGKILL, 5)
            if process.stdout is not None:
                process.stdout.close()


def _end_group(process: subprocess.Popen, number: signal.Signals, seconds: float) -> None:
    """Send a signal to all that is alive in the child's group and wait for its end."""
    deadline = time.monotonic() + seconds
    if _group_is_alive(process):
        os.killpg(process.pid, number)
    while _group_is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)


def _group_is_alive(process: subprocess.Popen) -> bool:
    # Until it is reaped here, DVC takes it for alive, and for the holder of its locks.
    if process.poll() is None:
        return True
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    # Those of its orphans that ended and that nobody has reaped yet do not count.
    members = [p for p in psutil.process_iter(["status"]) if _group_of(p.pid) == process.pid]
    return any(p.info["status"] != psutil.STATUS_ZOMBIE for p in members)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None
