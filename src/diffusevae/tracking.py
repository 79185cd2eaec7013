"""The one place where stages talk to MLflow.

Every stage that really runs is one MLflow run. Within a pipeline run it is nested under the run
named by DIFFUSEVAE_PARENT_RUN; under a bare `dvc repro` it stands alone. MLFLOW_TRACKING_URI
chooses the server; without it an SQLite file and local artifacts in ./mlflow are used. Where
MLflow is not installed, tracking says so and is off. Nothing here reaches a stage's outputs.
"""

import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PARENT_VARIABLE = "DIFFUSEVAE_PARENT_RUN"
TIMINGS = Path("scratch/timings")
PROGRESS_SECONDS = 10

# No telemetry unless the user turns it on; no pickle; a dead server is not waited for.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
logging.getLogger("alembic").setLevel(logging.WARNING)


class Log:
    """What a stage can say while it works: to the screen, to MLflow and to its timings file."""

    def __init__(self, client=None, run_id: str | None = None, prefix: str = "") -> None:
        self._client = client
        self._run_id = run_id
        self._prefix = prefix
        self._last_progress = time.monotonic()
        self.timings: dict[str, float] = {}

    def message(self, text: str) -> None:
        """Print one line now."""
        print(text, flush=True)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Record an epoch's row of the history (its key "epoch" is the step) and print it."""
        values = {name: value for name, value in row.items() if name != "epoch"}
        shown = "  ".join(f"{name} {value:.5g}" for name, value in values.items())
        self.message(f"{self._prefix}epoch {row['epoch']}  {shown}")
        self._batch(values, row["epoch"])

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
        """Store a file or folder with the run."""
        self._call(lambda c: c.log_artifacts(self._run_id, path, path.name) if path.is_dir()
                   else c.log_artifact(self._run_id, path))  # fmt: skip

    def tag(self, name: str, value: str) -> None:
        """Set a tag, e.g. model_sha256, by which a registered model finds its training run."""
        self._call(lambda c: c.set_tag(self._run_id, name, value))

    def dataset(self, path: Path, context: str) -> None:
        """Record the data set a stage read: its name and the SHA-256 of the file as digest."""
        def log_input(client) -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            data = Dataset(name=path.parent.name, digest=digest[:36], source_type="local",
                           source=json.dumps({"path": str(path), "sha256": digest}))
            tags = [InputTag("mlflow.data.context", context)]
            client.log_inputs(self._run_id, datasets=[DatasetInput(data, tags)])

        self._call(log_input)

    @contextmanager
    def trial(self, number: int, params: Mapping[str, object]) -> Iterator["Log"]:
        """Open a run nested under this stage's for one Optuna trial."""
        run_id = self._call(lambda c: _create_run(c, f"trial {number}", self._run_id,
                                                  _flatten(params)))
        child = Log(self._client if run_id else None, run_id, f"trial {number}  ")
        try:
            yield child
        finally:
            child._call(lambda c: c.set_terminated(run_id))

    def _batch(self, values: Mapping[str, float], step: int) -> None:
        def log_batch(client) -> None:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            rows = [Metric(name, float(value), now, step) for name, value in values.items()]
            client.log_batch(self._run_id, metrics=rows)

        self._call(log_batch)

    def _call(self, action):
        """Do one thing on the server; if it fails, say so once and go on without tracking."""
        if self._client is None:
            return None
        try:
            return action(self._client)
        except Exception as error:  # whatever a tracking server does, a training must not die of it
            self._client = None
            print(f"warning: tracking stops here: {_first_line(error)}", file=sys.stderr)
            return None


@contextmanager
def track_stage(stage: str, key: str, params: Mapping[str, object]) -> Iterator[Log]:
    """Open the MLflow run of a stage and close it as FINISHED, FAILED or KILLED."""
    log = _open_log(stage, key, params)
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
        log._call(lambda c: c.set_terminated(log._run_id, status))
        if status == "FINISHED":
            _write_timings(stage, key, log)


def connect():
    """Return an MlflowClient on the configured store, creating the default one once.

    Sets MLFLOW_TRACKING_URI for this process and its children, so that all use the same store.
    """
    home = Path("mlflow").absolute()
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{home / 'mlflow.db'}"
    uri = os.environ["MLFLOW_TRACKING_URI"]
    from mlflow import MlflowClient

    if uri != f"sqlite:///{home / 'mlflow.db'}":
        return MlflowClient()
    home.mkdir(exist_ok=True)
    # Two processes that open a new SQLite store at once break it: one makes it, the others wait.
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return MlflowClient()


def experiment_id(client, name: str) -> str:
    """Return the id of the MLflow experiment of that name, created on first use."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    local = os.environ["MLFLOW_TRACKING_URI"].startswith("sqlite")
    location = (Path("mlflow/artifacts").absolute() / name).as_uri() if local else None
    try:
        return client.create_experiment(name, artifact_location=location)
    except Exception:  # another process was faster
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


def _open_log(stage: str, key: str, params: Mapping[str, object]) -> Log:
    try:
        import mlflow  # noqa: F401
    except ImportError:
        print("tracking is off: mlflow is not installed", flush=True)
        return Log()
    try:
        client = connect()
        parent = os.environ.get(PARENT_VARIABLE)
        run_id = _create_run(client, stage, parent, _flatten(params),
                             tags={"stage": stage, "key": key}, experiment=key)
        return Log(client, run_id)
    except Exception as error:  # a tracking server that is away must not stop the work
        print(f"warning: tracking is off: {_first_line(error)}", file=sys.stderr, flush=True)
        return Log()


def _create_run(
    client, name: str, parent: str | None, params: Mapping, tags: Mapping | None = None,
    experiment: str = "",
) -> str:  # fmt: skip
    from mlflow.entities import Param

    tags = dict(tags or {})
    if parent:
        tags["mlflow.parentRunId"] = parent
        experiment_of_run = client.get_run(parent).info.experiment_id
    else:
        experiment_of_run = experiment_id(client, experiment)
    run = client.create_run(experiment_of_run, run_name=name, tags=tags)
    client.log_batch(run.info.run_id, params=[Param(k, str(v)) for k, v in params.items()])
    return run.info.run_id


def _flatten(params: Mapping[str, object]) -> dict[str, object]:
    """Return {"vae.kl_weight": ..., ...} from sections that may be dataclasses."""
    flat = {}
    for name, value in params.items():
        if dataclasses.is_dataclass(value):
            value = dataclasses.asdict(value)
        if isinstance(value, dict):
            flat |= {f"{name}.{k}": v for k, v in _flatten(value).items()}
        else:
            flat[name] = value
    return flat


def _write_timings(stage: str, key: str, log: Log) -> None:
    folder = TIMINGS / key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stage}.json").write_text(json.dumps(log.timings, indent=2, sort_keys=True) + "\n")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
