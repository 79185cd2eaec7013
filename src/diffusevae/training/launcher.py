"""Starts a stage several times over, so that the processes train one model together.

This process stays as their parent: it is what DVC sees, and what ends it ends them all.
"""

import logging
import os
import signal
import sys
import tempfile
import uuid
from pathlib import Path

from diffusevae.core.errors import InputError
from diffusevae.core.interruption import Stopped
from diffusevae.core.parent import PARENT_VARIABLE

PROCESSES_VARIABLE = "DIFFUSEVAE_PROCESSES"
MOST_PROCESSES = 64  # on one machine
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


def num_processes() -> int:
    """Return how many processes train together, 1 unless DIFFUSEVAE_PROCESSES says otherwise.

    Raises InputError.
    """
    text = os.environ.get(PROCESSES_VARIABLE) or "1"
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_PROCESSES:
        return int(text)
    raise InputError(
        f"{PROCESSES_VARIABLE}: {text!r} is not a number of processes; write a whole "
        f"number from 1 to {MOST_PROCESSES}"
    )


def rank() -> int | None:
    """Return this process's rank among those that torchrun started, None if it started none.

    Raises InputError where the environment is only in part torchrun's.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    text = os.environ.get("RANK", "")
    if not (text.isascii() and text.isdecimal()):
        raise InputError(
            f"RANK: {text!r} is no rank, and TORCHELASTIC_RUN_ID is set; start by "
            "torchrun, which sets both, or unset TORCHELASTIC_RUN_ID"
        )
    return int(text)


def launch(argv: list[str], count: int) -> None:
    """Run `python -m diffusevae.stages ARGV` in `count` processes that know each other.

    The first one's output is ours. Exits with the code of one that failed, after the others were
    ended. Raises InputError where there are fewer GPUs than processes.
    """
    _check_devices(count)
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The process that failed has said why; torchrun would add a page.
    logging.disable(logging.CRITICAL)
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    os.environ |= {"OMP_NUM_THREADS": str(threads)} | LOOPBACK | os.environ
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    with tempfile.TemporaryDirectory(prefix="diffusevae-") as folder:
        logs = DefaultLogsSpecs(folder, redirects={each: Std.ALL for each in range(1, count)})
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=logs,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "diffusevae.stages", *argv)
        except ChildFailedError as error:
            codes = {each: failure.exitcode for each, failure in error.failures.items()}
            failed = _cause(codes)
            if failed != 0:
                _show_errors(Path(folder), failed)
            code = codes[failed]
            sys.exit(128 - code if code < 0 else code)
        except SignalException as stop:
            raise Stopped(stop.sigval) from stop


def _check_devices(count: int) -> None:
    import torch

    from diffusevae.core.device import DEVICE_VARIABLE

    device = os.environ.get(DEVICE_VARIABLE) or "cuda"
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return
    if device != "cuda":
        raise InputError(
            f"{PROCESSES_VARIABLE}: {count} processes need a GPU each, and "
            f"{DEVICE_VARIABLE} is {device}; name GPUs by CUDA_VISIBLE_DEVICES"
        )
    if count > torch.cuda.device_count():
        raise InputError(
            f"{PROCESSES_VARIABLE}: {count} processes need a GPU each, and there are "
            f"{torch.cuda.device_count()}; use no more than that, or "
            f"{DEVICE_VARIABLE}=cpu"
        )


def _show_errors(folder: Path, failed: int) -> None:
    """Show what a process other than the first said when it failed."""
    for path in folder.rglob(f"{failed}/stderr.log"):
        sys.stderr.write(path.read_text(errors="replace"))


def _cause(codes: dict[int, int]) -> int:
    """Return the process that failed first, by what the exit codes of all that failed say.

    SIGTERM ended those that were left; exit code 1 may be of one whose connection was lost.
    """

    def doubt(process: int) -> tuple[bool, bool, bool]:
        code = codes[process]
        return code in (-signal.SIGTERM, 128 + signal.SIGTERM), code == 1, code < 0

    return min(sorted(codes), key=doubt)
