"""A worker of this checkout: it runs what the server has for its pool, one run at a time.

It becomes Prefect's own worker. A run that is cancelled, or whose worker dies, ends with all its
stages.
"""

import fcntl
import os
import select
import signal
import socket
import sys
import tempfile
from pathlib import Path
from threading import Thread

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from diffusevae.core.disk import SCRATCH, make_private
from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.core.wording import suggest
from diffusevae.training.launcher import PROCESSES_VARIABLE
from flows.prefect_server import require_answer

CHECKOUT_VARIABLE = "DIFFUSEVAE_CHECKOUT"
WORKER_VARIABLE = "DIFFUSEVAE_WORKER"  # the worker's process, for the runs it starts
HEARTBEAT_SECONDS = 30  # Prefect's least
# Nobody looks on: a run waits for a server that just restarts, at each call of Prefect for
# 2 + 4 + ... + 128 s, of MLflow, without which stages go on, for 4 + 8 + 16 + 32 s.
PATIENCE = {"PREFECT_CLIENT_MAX_RETRIES": "7", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5"}
USAGE = "write `diffusevae worker cpu`, `... gpu 0`, or `... gpu 0,1` for two GPUs"


def work(arguments: list[str]) -> None:
    """Become the worker. Does not return.

    Raises InputError for wrong arguments, EnvironmentFailure without a server, without the pool,
    or where another worker has this checkout or GPU.
    """
    pool, gpus = _read(arguments)
    _require_pool(pool)
    make_private(SCRATCH)
    _hold(SCRATCH / "worker.lock", "this checkout")
    for gpu in gpus:
        _hold(Path(tempfile.gettempdir()) / f"diffusevae-gpu-{gpu}.lock", f"GPU {gpu}")
    checkout = Path.cwd()
    os.environ |= PATIENCE | {
        CHECKOUT_VARIABLE: str(checkout),
        WORKER_VARIABLE: str(os.getpid()),
        "PYTHONPATH": os.pathsep.join([str(checkout), str(checkout / "src")]),
        "CUDA_VISIBLE_DEVICES": ",".join(gpus),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    }
    if gpus:
        os.environ[PROCESSES_VARIABLE] = str(len(gpus))
    # Prefect turns TERM into INT, which a job in the background of a script would ignore.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(
        sys.executable,
        [
            sys.executable,
            "-m",
            "prefect",
            "worker",
            "start",
            "--type",
            "process",
            "--pool",
            pool,
            "--name",
            "-".join((socket.gethostname(), checkout.name, pool, *gpus)),
            "--limit",
            "1",
            "--no-create-pool-if-not-found",
            "--install-policy",
            "never",
        ],
    )


def started_by_worker() -> bool:
    """Return whether a worker started this run, and no person."""
    return WORKER_VARIABLE in os.environ


def end_with_worker() -> None:
    """End this process by SIGTERM when the worker that started its run dies."""
    if not started_by_worker():
        return
    process = os.pidfd_open(int(os.environ[WORKER_VARIABLE]))

    def wait() -> None:
        select.select([process], [], [])
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=wait, daemon=True).start()


def _read(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the pool and the GPUs, which belong to no other worker."""
    match arguments:
        case ["cpu"]:
            return "cpu", []
        case ["gpu", names]:
            gpus = names.split(",")
            if all(map(str.isdecimal, gpus)) and len(set(gpus)) == len(gpus):
                return "gpu", gpus
    raise InputError(f"arguments {' '.join(arguments)!r}: {USAGE}")


def require_server() -> None:
    """Raise EnvironmentFailure where no server of the user's own is named, or none answers."""
    url = PREFECT_API_URL.value()
    if url is None:
        raise EnvironmentFailure(
            "PREFECT_API_URL: is not set; set it to the server's address, "
            "such as http://127.0.0.1:4200/api"
        )
    require_answer(url)


def _require_pool(pool: str) -> None:
    require_server()
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound as error:
            known = [found.name for found in client.read_work_pools()]
            raise EnvironmentFailure(
                f"work pool {pool!r}: the server has none "
                f"({suggest(pool, known) if known else 'it has no pool'}); "
                "run `diffusevae bootstrap`"
            ) from error


def _hold(path: Path, what: str) -> None:
    """Lock a file until this process ends, however it ends. Raises EnvironmentFailure."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    os.set_inheritable(file, True)  # the worker that this process becomes keeps it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise EnvironmentFailure(
            f"{path}: another worker has {what}; stop it, or use another checkout and GPU"
        ) from error
