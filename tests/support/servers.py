"""A real MLflow server on this machine's loopback, with its store in a folder of the test's."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusevae.core.parent import tie
from flows.prefect_server import free_port


class MlflowServer:
    """A server that can be killed and started again, on the same port and store."""

    def __init__(self, folder: Path, store: str = "") -> None:
        self.folder = folder
        self.store = store or f"sqlite:///{folder / 'mlflow/mlflow.db'}"
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it; return when it answers."""
        with open(self.folder / "server.log", "a") as log:
            self._process = subprocess.Popen(
                tie(
                    [
                        sys.executable,
                        "-m",
                        "mlflow",
                        "server",
                        "--host",
                        "127.0.0.1",
                        "--port",
                        str(self.port),
                        "--workers",
                        "1",
                        "--backend-store-uri",
                        self.store,
                        "--artifacts-destination",
                        self.folder / "served",
                    ]
                ),
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError((self.folder / "server.log").read_text()[-3000:])

    def kill(self) -> None:
        """Kill it and its workers outright."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


@contextmanager
def serve_mlflow(folder: Path) -> Iterator[str]:
    """Yield the address of a server for the time of the block."""
    server = MlflowServer(folder)
    try:
        server.start()
        yield server.address
    finally:
        server.kill()
