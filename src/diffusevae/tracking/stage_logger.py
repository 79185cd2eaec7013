"""What a stage says of its work: on the screen, in MLflow and in its timings file.

Every stage that really runs is one MLflow run. Within a pipeline run it is nested under the run
named by DIFFUSEVAE_PARENT_RUN; under a bare `dvc repro` it stands alone. Another process writes to
MLflow (diffusevae.tracking.recorder), so a stage waits neither for its import nor for its server,
and what cannot be written is kept and sent later. Where MLflow is not installed, tracking says so
and is off. Nothing here reaches a stage's outputs.
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from diffusevae.core.errors import InputError, hide_passwords
from diffusevae.core.interruption import Stopped

PARENT_VARIABLE = "DIFFUSEVAE_PARENT_RUN"
RECORDER_VARIABLE = "DIFFUSEVAE_RECORDER"
TIMINGS = Path("scratch/timings")
PROGRESS_SECONDS = 10
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
        flat = {key: str(value) for key, value in _flatten(params).items()}
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


class StageLogger:
    """What a stage can say while it works. Without a recorder it only prints and keeps timings."""

    def __init__(
        self, recorder: Recorder | None = None, run: int | None = None, prefix: str = ""
    ) -> None:
        self._recorder = recorder
        self._run = run
        self._prefix = prefix
        self._last_progress = time.monotonic()
        self.timings: dict[str, float] = {}

    def message(self, text: str) -> None:
        """Print one line now."""
        print(hide_passwords(text), flush=True)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Record an epoch's row of the history (its key "epoch" is the step) and print it."""
        shown = "  ".join(f"{name} {value:.5g}" for name, value in row.items() if name != "epoch")
        self.message(f"{self._prefix}epoch {row['epoch']}  {shown}")
        self._record_epoch(row)

    def resume(self, history: Sequence[Mapping[str, float]], epoch: int, batch: int) -> None:
        """Say where a training goes on, and record the epochs that an earlier run finished."""
        self.message(f"{self._prefix}going on after batch {batch} of epoch {epoch}")
        for row in history:
            self._record_epoch(row)

    def batch(self, epoch: int, done: int, total: int) -> None:
        """Print how far an epoch is, at most every PROGRESS_SECONDS."""
        self.progress(f"{self._prefix}epoch {epoch}")(done, total)

    def progress(self, label: str) -> Callable[[int, int], None]:
        """Return a function (done, total) that prints a share now and then."""

        def show(done: int, total: int) -> None:
            now = time.monotonic()
            if now - self._last_progress >= PROGRESS_SECONDS and done < total:
                self._last_progress = now
                self.message(f"{label}: {done / total:.0%}")

        return show

    def summary(self, values: Mapping[str, float]) -> None:
        """Record final numbers of the stage without printing them."""
        self._batch(values, step=0)

    def timing(self, name: str, value: float) -> None:
        """Record a measured duration or rate: in MLflow and ./scratch, never in an output."""
        self.timings[name] = value
        self._batch({name: value}, step=0)

    def artifact(self, path: Path) -> None:
        """Store a file or folder with the run; it must stay as it is until the stage ends."""
        self._record("artifact", path=str(path))

    def tag(self, name: str, value: str) -> None:
        """Set a tag, e.g. model_sha256, by which a registered model finds its training run."""
        self._record("tag", name=name, value=value)

    def dataset(self, path: Path, context: str) -> None:
        """Record the data set a stage read: its name and the SHA-256 of the file as digest."""
        self._record("dataset", path=str(path), context=context)

    @contextmanager
    def trial(
        self,
        number: int | str,
        params: Mapping[str, object],
        pruned: tuple[type[Exception], ...] = (),
    ) -> Iterator["StageLogger"]:
        """Open a run nested under this stage's for one Optuna trial, or one training of several.

        It ends as FINISHED, FAILED or KILLED; by an exception of `pruned` as FINISHED, with the tag
        "pruned" that says why.
        """
        run = None
        if self._recorder is not None:
            run = self._recorder.open(f"trial {number}", self._run, params)
        child = StageLogger(self._recorder, run, f"trial {number}  ")
        status = "FAILED"
        try:
            yield child
            status = "FINISHED"
        except pruned as error:
            child.tag("pruned", str(error) or type(error).__name__)
            status = "FINISHED"
            raise
        except (SystemExit, KeyboardInterrupt):
            status = "KILLED"
            raise
        finally:
            child._record("close", status=status)

    def _record_epoch(self, row: Mapping[str, float]) -> None:
        values = {name: value for name, value in row.items() if name != "epoch"}
        self._batch(values, int(row["epoch"]))

    def _batch(self, values: Mapping[str, float], step: int) -> None:
        numbers = {name: float(value) for name, value in values.items()}
        self._record("metrics", values=numbers, step=step)

    def _record(self, action: str, **arguments) -> None:
        if self._recorder is not None and self._run is not None:
            self._recorder.record(action, self._run, **arguments)


@contextmanager
def track_stage(
    stage: str, key: str, params: Mapping[str, object], recorder: Recorder
) -> Iterator[StageLogger]:
    """Open the MLflow run of a stage and close it as FINISHED, FAILED or KILLED."""
    run = recorder.open(
        stage,
        os.environ.get(PARENT_VARIABLE),
        params,
        tags={"stage": stage, "key": key},
        experiment=key,
    )
    log = StageLogger(recorder, run)
    start = time.monotonic()
    status = "FAILED"
    try:
        yield log
        status = "FINISHED"
    except (SystemExit, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        log.timing("seconds", time.monotonic() - start)
        log.timing("peak_memory_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        recorder.record("close", run, status=status)
        if status == "FINISHED":
            _write_timings(stage, key, log)


def _flatten(params: Mapping[str, object]) -> dict[str, object]:
    """Return {"vae.kl_weight": ..., ...} from sections that may be dataclasses."""
    flat: dict[str, object] = {}
    for name, value in params.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if isinstance(value, dict):
            flat |= {f"{name}.{k}": v for k, v in _flatten(value).items()}
        else:
            flat[name] = value
    return flat


def _write_timings(stage: str, key: str, log: StageLogger) -> None:
    folder = TIMINGS / key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stage}.json").write_text(json.dumps(log.timings, indent=2, sort_keys=True) + "\n")
