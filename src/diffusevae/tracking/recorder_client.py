"""The stage's end of the line to the process that records (diffusevae.tracking.recorder)."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping

from diffusevae.core.errors import InputError
from diffusevae.core.interruption import Stopped

RECORDER_VARIABLE = "DIFFUSEVAE_RECORDER"
STOP_SECONDS = 4  # for the recorder after a signal; it goes on without this process


class Recorder:
    """Hands what is to be recorded to the process that does it, in order.

    That is the flow, where it gave its address in DIFFUSEVAE_RECORDER, else one that is started
    here, outside this process group: what ends the stage leaves it time to record that end. As a
    context manager this waits at the end until all is recorded, or kept where MLflow does not
    answer.
    """

    def __init__(self) -> None:
        self._num_runs = 0
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen | None = None
        if address := os.environ.get(RECORDER_VARIABLE):
            self._socket = socket.socket(socket.AF_UNIX)
            try:
                self._socket.connect(address)
            except OSError as error:
                raise InputError(
                    f"{RECORDER_VARIABLE}: nobody records at {address!r} ({error}); unset it"
                ) from error
        elif importlib.util.find_spec("mlflow") is None:
            print("tracking is off: mlflow is not installed", flush=True)
        else:
            self._socket, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "diffusevae.tracking.recorder"],
                    stdin=theirs.fileno(),
                    start_new_session=True,
                )

    def open(
        self,
        name: str,
        parent: int | str | None,
        params: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        experiment: str = "",
    ) -> int:
        """Start a run; return its number here. `parent` is such a number, or an MLflow run's id."""
        number = self._num_runs
        self._num_runs += 1
        flat = {key: str(value) for key, value in flatten_params(params).items()}
        self.record(
            "open",
            number,
            name=name,
            parent=parent,
            params=flat,
            tags=dict(tags or {}),
            experiment=experiment,
        )
        return number

    def record(self, action: str, run: int, **arguments) -> None:
        """Hand over one action of diffusevae.tracking.recorder."""
        if self._socket is None:
            return
        message = {"do": action, "run": run, "milliseconds": int(time.time() * 1000)} | arguments
        line = json.dumps(message) + "\n"
        try:
            self._socket.sendall(line.encode())
        except ConnectionError:  # the other end has said why it gave up
            self._socket = None

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_stopped = kind is not None and issubclass(kind, Stopped)  # then time is short
        if self._socket is not None:
            with contextlib.suppress(ConnectionError, TimeoutError), self._socket:
                self._socket.settimeout(STOP_SECONDS if is_stopped else None)
                self._socket.shutdown(socket.SHUT_WR)
                if self._num_runs:
                    self._socket.recv(1)  # comes back when the other end is done and closes
        if self._process is not None and not (is_stopped and self._num_runs):
            if not self._num_runs:  # nothing to wait for: bad input, say
                self._process.kill()
            self._process.wait()


def flatten_params(params: Mapping[str, object]) -> dict[str, object]:
    """Return {"vae.kl_weight": ..., ...} from sections that may be dataclasses."""
    flat: dict[str, object] = {}
    for name, value in params.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if isinstance(value, dict):
            flat |= {f"{name}.{k}": v for k, v in flatten_params(value).items()}
        else:
            flat[name] = value
    return flat
