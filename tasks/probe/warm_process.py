"""A process that has imported what every stage imports, and forks for each one that is tried.

    python -m tasks.probe.warm_process TIME    (reads commands from its standard input)

A stage in a process of its own spends seconds on imports before it begins. Here they are spent
once, and measured; nothing is computed before a fork, so no thread is lost in it.
"""

import gc
import importlib
import json
import os
import shlex
import signal
import socketserver
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread

from diffusevae.core.parent import PARENT_VARIABLE, end_with_parent
from diffusevae.stages.names import STAGES
from diffusevae.tracking.recorder_client import RECORDER_VARIABLE
from tasks.dvc.failure import explain_stage

WORDS = ["exec", "python", "-m", "diffusevae.stages"]  # of dvc.yaml, before a stage's arguments


class WarmProcess:
    """The process. As a context manager it ends with the block, and with this process.

    start_seconds: what a stage's own process takes until its stage begins; known after the first.
    """

    start_seconds: float | None = None

    def __init__(self, variables: dict[str, str]) -> None:
        """Start it, without waiting; `variables` are the environment of the stages.

        What stages hand to MLflow goes nowhere, but the files are counted.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="diffusevae-")
        recorder = str(Path(self._folder.name) / "recorder")
        self._sink = _Sink(recorder, _Counted)
        Thread(target=self._sink.serve_forever, args=(0.05,), daemon=True).start()
        own = {PARENT_VARIABLE: str(os.getpid()), RECORDER_VARIABLE: recorder}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tasks.probe.warm_process", str(time.time())],
            env=variables | own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C ends it by way of this process
        )

    def run(self, folder: Path, target: str, command: str) -> tuple[float, int, int]:
        """Run a stage's command of dvc.yaml there; return seconds, bytes of memory, bytes recorded.

        Raises what `explain_stage` makes of a failure.
        """
        words = shlex.split(command)
        assert words[: len(WORDS)] == WORDS and self._process.stdin is not None
        if self.start_seconds is None:
            self.start_seconds = self._read()["seconds"]
        self._sink.folder, self._sink.num_bytes = folder, 0
        log = Path(self._folder.name) / "log"
        asked = {"folder": str(folder), "arguments": words[len(WORDS) :], "log": str(log)}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        found = self._read()
        if found["code"] != 0:
            lines = log.read_text(errors="replace").splitlines()
            raise explain_stage(target, found["code"], lines)
        return found["seconds"], found["memory"], self._sink.num_bytes

    def _read(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise explain_stage("the stages' process", self._process.wait(), [])
        return json.loads(line)

    def __enter__(self) -> "WarmProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._sink.shutdown()
        self._sink.server_close()
        self._folder.cleanup()


class _Sink(socketserver.ThreadingUnixStreamServer):
    """Takes what stages record; num_bytes: of the files among it, which lie in `folder`."""

    daemon_threads = True
    folder = Path()
    num_bytes = 0


class _Counted(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Sink)
        for line in self.rfile:
            message = json.loads(line)
            if message["do"] == "artifact":
                path = self.server.folder / message["path"]
                files = path.rglob("*") if path.is_dir() else [path]
                self.server.num_bytes += sum(each.stat().st_size for each in files)


def serve() -> None:
    """Import everything, say so, then run what is asked for on standard input until it ends."""
    end_with_parent(signal.SIGTERM)
    gc.disable()
    stages = importlib.import_module("diffusevae.stages.__main__")
    for name in STAGES:
        importlib.import_module(f"diffusevae.stages.{name}")
    gc.freeze()
    _say({"seconds": time.time() - float(sys.argv[1])})
    for line in sys.stdin:
        asked = json.loads(line)
        start = time.perf_counter()
        child = os.fork()
        if child == 0:
            _be_stage(stages.main, asked)
        _, status, usage = os.wait4(child, 0)
        _say(
            {
                "code": os.waitstatus_to_exitcode(status),
                "seconds": time.perf_counter() - start,
                "memory": 1024 * usage.ru_maxrss,
            }
        )


def _be_stage(main, asked: dict) -> None:
    """Run the stage in the place of this process. Does not return."""
    code = 1
    try:
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(log, number)
        os.chdir(asked["folder"])
        os.environ[PARENT_VARIABLE] = str(os.getppid())
        code = main(asked["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _say(message: dict) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    serve()
