"""Copies of this checkout in which tests run the pipeline; what all tests know."""

import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import psutil
from ruamel.yaml import YAML

from diffusevae.__main__ import MARKS

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = YAML(typ="safe").load(ROOT / "prefect.yaml")["deployments"]
LOGIN = f"tests:{secrets.token_urlsafe(24)}"  # which the tests' own Prefect servers ask for
CANARY = f"kanarie{7314}"  # a password, which must be found nowhere, so not here either
SECONDS = 1800  # after which a pipeline run that should take two minutes is given up


@dataclass(frozen=True)
class SmokeRun:
    """A finished run of the flow on `smoke`: where, on which Prefect server, and what was seen."""

    checkout: Path
    api_url: str
    output: str
    commands: frozenset[str]  # of all processes of this machine meanwhile
    listeners: frozenset[str]  # the addresses at which its own processes took connections


def wait_for(find: Callable[[], object], what: str, seconds: float = 180):
    """Return what `find` returns once that is true; raises AssertionError if it stays false."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds} s")


def copy_checkout(folder: Path) -> Path:
    """Copy the files that belong to the project to a new repository, without data or results."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():  # a deleted file is listed too
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def mark_checkout(folder: Path) -> None:
    """Let the command take a folder for a checkout; what code there is comes from elsewhere."""
    for name in MARKS:
        (folder / name).touch()


class Watch:
    """What command lines and addresses show of processes while the block runs."""

    def __enter__(self) -> "Watch":
        self.commands: set[str] = set()
        self.listeners: set[str] = set()
        self._ended = Event()
        self._thread = Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.5):
            for process in psutil.process_iter():
                with suppress(psutil.Error):  # it ended meanwhile
                    self.commands.add(" ".join(process.cmdline()))
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    for socket in process.net_connections("tcp"):
                        if socket.status == psutil.CONN_LISTEN:
                            self.listeners.add(socket.laddr.ip)


def run_pipeline(checkout: Path, experiment: str, **variables: str) -> subprocess.CompletedProcess:
    """Run `diffusevae run` there, on the checkout's own code; stderr is in stdout."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"}
    environment |= {"PYTHONPATH": str(checkout / "src")} | variables
    return subprocess.run(
        [sys.executable, "-m", "diffusevae", "run", experiment],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
