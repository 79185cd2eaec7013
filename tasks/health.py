"""What of this machine and checkout is right, and what to mend: each said in one line."""

import os
import platform
import shutil
import socket
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Literal
from urllib.parse import urlsplit

import psutil
from packaging.specifiers import SpecifierSet

from diffusevae.core import database_file
from diffusevae.core.address import is_http
from diffusevae.core.command import explain_machine_error
from diffusevae.core.device import choose_device
from diffusevae.core.errors import EnvironmentFailure, Failure
from diffusevae.sources.pinned import ASSETS
from diffusevae.sources.places import MIRROR_VARIABLE, list_sources, torchvision_urls
from diffusevae.tracking.journal import count_unsent
from diffusevae.tracking.mlflow_store import require_address, tracking_uri
from diffusevae.tuning.study_storage import STORAGE_VARIABLE
from tasks.checkout import require_checkout
from tasks.dvc.checkout_lock import find_holder
from tasks.dvc.failure import RWLOCK
from tasks.report.publication import describe_device
from tasks.reproduction import list_other_packages

Level = Literal["ok", "warn", "wrong"]
SECONDS = 3  # until a server that does not answer is given up
GIGABYTE = 1e9
FREE, LITTLE = 5, 1  # GB of disk: enough for any CPU experiment; too little for a first run
MEMORY, SCANT = 2, 1  # GB: what quickstart takes with room; below what one process takes
FIRST = ("mnist", "alexnet")  # what `diffusevae run` downloads
PORTS = {"postgresql": 5432, "http": 80, "https": 443}


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is right, and a line that says so, or how to mend it."""

    what: str
    level: Level
    line: str


def examine() -> Iterator[Finding]:
    """Yield a finding for each of CHECKS, as it is made."""
    for what, check in CHECKS.items():
        try:
            yield Finding(what, *check())
        except Failure as failure:
            yield Finding(what, "wrong", str(failure))
        except OSError as error:
            yield Finding(what, "wrong", str(explain_machine_error(error) or error))


def check_python() -> tuple[Level, str]:
    """Look at the Python that runs."""
    wanted = tomllib.loads(Path("pyproject.toml").read_text())["project"]["requires-python"]
    found = platform.python_version()
    if found not in SpecifierSet(wanted):
        return "wrong", f"Python {found}: expected {wanted}; run `make setup PYTHON=python3.11`"
    return "ok", f"Python {found}, {sys.executable}"


def check_packages() -> tuple[Level, str]:
    """Hold what is installed against constraints.txt."""
    if others := list_other_packages():
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        return "warn", f"not as pinned: {', '.join(others[:3])}{more}; run `make setup`"
    return "ok", "as pinned in constraints.txt"


def check_git() -> tuple[Level, str]:
    """Look at the repository, and for merges that are half done."""
    require_checkout()
    return "ok", f"{Path.cwd()} is a repository, in no merge"


def check_disk() -> tuple[Level, str]:
    """Look at the room for data, models and DVC's cache."""
    free = shutil.disk_usage(".").free / GIGABYTE
    level: Level = "ok" if free >= FREE else "warn" if free >= LITTLE else "wrong"
    mend = "" if level == "ok" else f"; free {FREE} GB, e.g. by `dvc gc --workspace`"
    return level, f"{free:.1f} GB are free here{mend}"


def check_memory() -> tuple[Level, str]:
    """Look at the memory that is free, and the cores."""
    free = psutil.virtual_memory().available / GIGABYTE
    level: Level = "ok" if free >= MEMORY else "warn" if free >= SCANT else "wrong"
    mend = "" if level == "ok" else f"; end other programs until {MEMORY} GB are free"
    return level, f"{free:.1f} GB are free, {os.cpu_count()} cores{mend}"


def check_device() -> tuple[Level, str]:
    """Look at what computes, and whether a GPU lies idle."""
    device = choose_device()
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        return "warn", "CPU, though there is an nvidia-smi; install its driver, or a torch for it"
    return "ok", describe_device() + ("; no GPU, which none of the cpu_ experiments needs") * (
        device.type == "cpu"
    )


def check_data() -> tuple[Level, str]:
    """Look whether what a first run downloads is here, or where it could be had."""
    missing = [name for name in FIRST if not _is_here(name)]
    if not missing:
        return "ok", f"{' and '.join(FIRST)} are here"
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        first = next(list_sources(missing[0]))  # what is no mirror is said
        if not is_http(mirror):
            return "ok", f"{' and '.join(missing)} come from {first.name}"
    places = {name: mirror or torchvision_urls(name)[0] for name in missing}
    hosts = {name: urlsplit(url).hostname for name, url in places.items()}
    silent = [name for name, url in places.items() if not _answers(url)]
    if not silent:
        return "ok", "; ".join(f"{name} comes from {host}" for name, host in hosts.items())
    return "warn", (
        f"{' and '.join(dict.fromkeys(str(hosts[name]) for name in silent))}: no answer, offline? "
        f"{' and '.join(silent)} may come from a package registry; "
        f"else set {MIRROR_VARIABLE} to a folder that has them"
    )


def check_mlflow() -> tuple[Level, str]:
    """Look at the store of runs and models."""
    require_address()
    uri = tracking_uri()
    if is_http(uri):
        return _judge_server("MLFLOW_TRACKING_URI", uri)
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///"):
        database_file.require_whole(path)
    return "ok", f"{path.name}, whole" if path.is_file() else "a file of this checkout, none yet"


def check_prefect() -> tuple[Level, str]:
    """Look at the user's Prefect server, where there is one."""
    uri = os.environ.get("PREFECT_API_URL")
    if not uri:
        return "ok", "one for the time of each run"
    return _judge_server("PREFECT_API_URL", uri)


def check_optuna() -> tuple[Level, str]:
    """Look at the database of the searches."""
    uri = os.environ.get(STORAGE_VARIABLE)
    if uri and not uri.startswith("sqlite"):
        return _judge_server(STORAGE_VARIABLE, uri)
    database_file.require_whole(Path("scratch/studies/optuna.db"))
    return "ok", "a file of this checkout"


def check_locks() -> tuple[Level, str]:
    """Look for a run that is at work, and what a killed one left."""
    if holder := find_holder():
        return "ok", f"a run (PID {holder}) is at work here"
    if RWLOCK.is_file() and RWLOCK.read_text(errors="replace").strip() not in ("", "{}"):
        return (
            "warn",
            f"{RWLOCK}: left by a DVC that was killed, or at work; the next run clears it",
        )
    return "ok", "no run is at work here"


def check_records() -> tuple[Level, str]:
    """Look for what MLflow has not taken yet."""
    here, others = count_unsent()
    if here:
        return "warn", f"{here} of MLflow's are kept until it takes them; run `diffusevae send`"
    return "ok", f"all sent{f', {others} kept for another MLFLOW_TRACKING_URI' if others else ''}"


def _is_here(asset: str) -> bool:
    folders = (Path("data/raw") / asset, Path("scratch/downloads") / asset)
    names = [file.name for file in ASSETS[asset].files]
    return any(all((folder / name).is_file() for name in names) for folder in folders)


def _judge_server(variable: str, uri: str) -> tuple[Level, str]:
    """Say whether something listens at an address, whose login is not shown."""
    host = urlsplit(uri).hostname
    if not _answers(uri):
        raise EnvironmentFailure(
            f"{variable}: {host} does not answer within {SECONDS} s; start it, mend or unset it"
        )
    return "ok", f"{host} answers"


def _answers(uri: str) -> bool:
    """Return whether something listens at an address's host and port; a name may be unknown."""
    parts = urlsplit(uri)
    try:
        port = parts.port or PORTS.get(parts.scheme.partition("+")[0], 80)
    except ValueError:
        return False
    connected = []

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname or "", port), SECONDS).close()
            connected.append(True)
        except OSError:
            pass

    thread = Thread(target=connect, daemon=True)  # a name server may be silent for a minute
    thread.start()
    thread.join(SECONDS + 1)
    return bool(connected)


CHECKS: dict[str, Callable[[], tuple[Level, str]]] = {
    "Python": check_python,
    "packages": check_packages,
    "git": check_git,
    "disk": check_disk,
    "memory": check_memory,
    "device": check_device,
    "data": check_data,
    "MLflow": check_mlflow,
    "Prefect": check_prefect,
    "Optuna": check_optuna,
    "locks": check_locks,
    "records": check_records,
}
