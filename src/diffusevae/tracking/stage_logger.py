"""What a stage says of its work: on the screen, in MLflow and in its timings file.

Every stage that really runs is one MLflow run. Within a pipeline run it is nested under the run
named by DIFFUSEVAE_PARENT_RUN; under a bare `dvc repro` it stands alone. Another process writes to
MLflow (diffusevae.tracking.recorder), so a stage waits neither for its import nor for its server,
and what cannot be written is kept and sent later. Where MLflow is not installed, tracking says so
and is off. Nothing here reaches a stage's outputs.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from diffusevae.core.errors import hide_passwords
from diffusevae.core.stage_log import StageLog
from diffusevae.tracking.recorder_client import Recorder

PARENT_VARIABLE = "DIFFUSEVAE_PARENT_RUN"
LIVE_VARIABLE = "DIFFUSEVAE_LIVE"  # set where somebody watches a bar
TIMINGS = Path("scratch/timings")
NOTE = "mlflow.note.content"  # the tag that MLflow shows as a run's description
NOTE_TEXT = """\
Stage `{stage}@{key}`, which `dvc repro {stage}@{key}` makes again where something of it changed. \
Its params are those that it worked with, what a search found among them; what it read stands \
under datasets, what the machine did meanwhile under system metrics.
"""
GPU_MEMORY = "peak_gpu_memory_mb"  # among a stage's timings where it used a GPU
PROGRESS_SECONDS, LIVE_SECONDS = 10, 0.5  # between two shares that are told


class StageLogger(StageLog):
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

    def batch(self, epoch: int, done: int, total: int, epochs: int) -> None:
        """Print how far an epoch, of so many, is, as `progress` does."""
        self.progress(f"{self._prefix}epoch {epoch} of {epochs}")(done, total)

    def progress(self, label: str) -> Callable[[int, int], None]:
        """Return a function (done, total) that prints a share now and then."""
        pause = LIVE_SECONDS if LIVE_VARIABLE in os.environ else PROGRESS_SECONDS

        def show(done: int, total: int) -> None:
            now = time.monotonic()
            if now - self._last_progress >= pause and done < total:
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
        total: int | None = None,
    ) -> Iterator["StageLogger"]:
        """Open a run nested under this stage's for one Optuna trial, or one training of several.

        total: of how many, where they are numbered from 0. It ends as FINISHED, FAILED or KILLED;
        by an exception of `pruned` as FINISHED, with the tag "pruned" that says why.
        """
        run = None
        if self._recorder is not None:
            run = self._recorder.open(f"trial {number}", self._run, params)
        of = "" if total is None else f" (of {total})"
        child = StageLogger(self._recorder, run, f"trial {number}{of}  ")
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
        tags={"stage": stage, "key": key, NOTE: NOTE_TEXT.format(stage=stage, key=key)},
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
        if (taken := gpu_memory_taken()) is not None:
            log.timing(GPU_MEMORY, taken / 2**20)
        recorder.record("close", run, status=status)
        if status == "FINISHED":
            _write_timings(stage, key, log)


def gpu_memory_taken() -> int | None:
    """Return how many bytes of its GPU this process has taken at most; None where it uses none."""
    torch = sys.modules.get("torch")  # a stage that downloads has not imported it
    if torch is None or not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_reserved()


def _write_timings(stage: str, key: str, log: StageLogger) -> None:
    folder = TIMINGS / key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stage}.json").write_text(json.dumps(log.timings, indent=2, sort_keys=True) + "\n")
