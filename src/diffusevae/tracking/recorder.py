"""Writes a stage's runs to MLflow, as told by JSON lines.

    python -m diffusevae.tracking.recorder    (reads them from its standard input)

A line is {"do": one of ACTIONS, "run": a number of the stage's choice, "milliseconds": when, ...:
its arguments}. Each is on disk (diffusevae.tracking.journal) before it is sent. Where MLflow does
not answer, it is tried again until the stage ends; what is left then, the next recorder sends.
Sending a line twice changes nothing, so whoever sends a journal starts at its first line. What
MLflow refuses is said, and left out. When the input ends, runs that nobody closed are closed as
KILLED: so a stage that is killed outright is not left RUNNING.
"""

import gc
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING

from diffusevae.core.errors import EnvironmentFailure, hide_passwords
from diffusevae.core.parent import keep_writing
from diffusevae.tracking.journal import Journal, create_journal, open_unsent
from diffusevae.tracking.mlflow_store import connect, experiment_id, first_line

if TYPE_CHECKING:  # imported where used: MLflow takes seconds
    from mlflow import MlflowClient

WAIT_SECONDS = 10  # from the first call that failed on, for MLflow to answer before a stage ends
LAST_TRY_SECONDS = 2  # at a stage's end, where it has been away for longer than that
PAUSE_SECONDS = 2  # between two tries
METRICS_PER_CALL = 1000  # MLflow's limit for metrics
# Tried again, what MLflow answers thus would be answered thus again.
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")


class Runs:
    """The MLflow runs of one journal, by the stage's own numbers."""

    def __init__(self, key: str, late: bool = False) -> None:
        """`late`: the stage has ended, so that its files may be others by now."""
        self.key = key
        self.late = late
        self._client: MlflowClient | None = None
        self.ids: dict[int, str] = {}
        self.places: dict[int, str] = {}

    @property
    def client(self) -> "MlflowClient":
        """The connection to MLflow, made when it is first used. Raises EnvironmentFailure."""
        if self._client is None:
            self._client = connect()
        return self._client

    def open(
        self,
        run: int,
        milliseconds: int,
        name: str,
        parent: int | str | None,
        params: dict,
        tags: dict,
        experiment: str,
    ) -> None:
        """Start a run under `parent`, a run's number here or id in MLflow, or in an experiment."""
        from mlflow.entities import Param

        under = self.ids.get(parent) if isinstance(parent, int) else parent
        if under:
            tags = tags | {"mlflow.parentRunId": under}
            self.places[run] = self.client.get_run(under).info.experiment_id
        else:
            self.places[run] = experiment_id(self.client, experiment)
        # An earlier try may have made it, and its answer been lost.
        found = self._find(run)
        if not found:
            tags = tags | {"record": f"{self.key}.{run}"}
            found = [self.client.create_run(self.places[run], milliseconds, tags, name)]
        self.ids[run] = found[0].info.run_id
        rows = [Param(key, value) for key, value in params.items()]
        self.client.log_batch(self.ids[run], params=rows)

    def metrics(self, run: int, rows: list) -> None:
        """Record numbers: name, value, milliseconds and step of each."""
        from mlflow.entities import Metric

        for i in range(0, len(rows), METRICS_PER_CALL):
            batch = [Metric(*row) for row in rows[i : i + METRICS_PER_CALL]]
            self.client.log_batch(self.ids[run], metrics=batch)

    def artifact(self, run: int, path: str, sha256: str) -> None:
        """Store a file, or a folder under its own name.

        Raises FileNotFoundError where it is gone, or is another since the stage ended.
        """
        if self.late and hash_files(Path(path)) != sha256:
            raise FileNotFoundError(f"{path} is gone or is another by now, so it is not stored")
        if Path(path).is_dir():
            self.client.log_artifacts(self.ids[run], path, Path(path).name)
        else:
            self.client.log_artifact(self.ids[run], path)

    def tag(self, run: int, name: str, value: str) -> None:
        """Set a tag."""
        self.client.set_tag(self.ids[run], name, value)

    def dataset(self, run: int, path: str, context: str, sha256: str) -> None:
        """Record the data set a stage read: its name and the SHA-256 of the file as digest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(
            name=Path(path).parent.name,
            digest=sha256[:36],
            source_type="local",
            source=json.dumps({"path": path, "sha256": sha256}),
        )
        tags = [InputTag("mlflow.data.context", context)]
        self.client.log_inputs(self.ids[run], datasets=[DatasetInput(data, tags)])

    def close(self, run: int, milliseconds: int, status: str) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.ids[run], status, milliseconds)
        # A server that was slow to answer may have made the run twice, the first time after we
        # had looked for it.
        for twin in self._find(run):
            if twin.info.run_id != self.ids[run]:
                self.client.delete_run(twin.info.run_id)
        del self.ids[run]

    def _find(self, run: int) -> list:
        return self.client.search_runs([self.places[run]], f"tags.record = '{self.key}.{run}'")


ACTIONS = ("open", "metrics", "artifact", "tag", "dataset", "close")


def record(lines: Iterable[bytes]) -> None:
    """Do what the lines say until they end; keep what MLflow does not take within WAIT_SECONDS."""
    sender = None
    opened: dict[int, None] = {}
    try:
        for line in lines:
            message = _complete(json.loads(line))
            if sender is None:
                sender = _Sender(create_journal())
                sender.start()
                unsent = Thread(target=send_unsent, daemon=True)
                unsent.start()
            sender.take(message)
            if message["do"] == "open":
                opened[message["run"]] = None
            elif message["do"] == "close":
                opened.pop(message["run"], None)
        if sender is not None:
            now = int(time.time() * 1000)
            for run in opened:
                sender.take({"do": "close", "run": run, "milliseconds": now, "status": "KILLED"})
            sender.finish()
            unsent.join(WAIT_SECONDS if not sender.is_alive() else 0)
    except (OSError, ValueError) as error:  # no disk, say: a training must not die of it
        say(f"warning: tracking stops here: {first_line(error)}")


def send_unsent() -> bool:
    """Send what earlier stages could not, and say so; return whether nothing is left to send."""
    sent, reason = 0, ""
    for journal in open_unsent():
        try:
            _replay(journal)
            journal.remove()
            sent += 1
        except Exception as error:  # kept, and said
            reason = _explain(error)
            if reason == SILENT:
                break  # so would it be for the others
    if sent:
        say(f"MLflow: sent what {sent} stage{'s' * (sent > 1)} could not record at the time")
    if reason:
        say(f"warning: MLflow {reason}: what earlier stages could not record is still kept")
    return not reason


def say(text: str) -> None:
    """Print one line for the stage's log."""
    print(hide_passwords(text), file=sys.stderr, flush=True)


class _Sender(Thread):
    """Sends a journal's lines as they come, in order, each until it is through."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(daemon=True)
        self._journal = journal
        self._messages: Queue[dict | None] = Queue()
        self._ended, self._stopped = Event(), Event()
        self._away_since: float | None = None
        self._unkept = False

    def take(self, message: dict) -> None:
        """Keep a message on disk and send it when its turn has come."""
        try:
            self._journal.append(message)
        except OSError as error:
            if not self._unkept:
                say(
                    f"warning: {self._journal.path}: {first_line(error)}; what MLflow does not "
                    "take at once is lost"
                )
            self._unkept = True
        self._messages.put(message)

    def finish(self) -> None:
        """Wait until all is sent, unless MLflow stays away; then say what is kept.

        A call that has not failed yet is waited for: its own time-out is its bound.
        """
        self._messages.put(None)
        ended = time.monotonic()
        self._ended.set()
        while self.is_alive():
            now, away_since = time.monotonic(), self._away_since
            if (
                away_since is not None
                and now - away_since > WAIT_SECONDS
                and now - ended > LAST_TRY_SECONDS
            ):
                self._stopped.set()
                self.join(0.2)  # to let go of the journal, unless it hangs in a call
                path = os.path.relpath(self._journal.path)
                return say(
                    f"warning: what MLflow did not take is kept in {path}; the next run "
                    "sends it, or `python -m tasks.recording`"
                )
            self.join(0.05)

    def run(self) -> None:
        runs = Runs(self._journal.key)
        try:
            for message in _group(self._pending()):
                while not self._try(runs, message):
                    self._wait()
                    if self._stopped.is_set():
                        return
            self._journal.remove()
        finally:
            self._journal.close()

    def _pending(self) -> Iterator[dict | None]:
        """Yield what there is to send; None where there is nothing more at the moment."""
        while True:
            try:
                message = self._messages.get_nowait()
            except Empty:
                yield None
                message = self._messages.get()
            if message is None:
                return
            yield message

    def _try(self, runs: Runs, message: dict) -> bool:
        try:
            _send(runs, message)
        except Exception as error:  # whatever a tracking server does, no training must die of it
            if self._away_since is None:
                self._away_since = time.monotonic()
                say(f"warning: MLflow {_explain(error)}: what is recorded is kept until it does")
            return False
        if self._away_since is not None:
            self._away_since = None
            say("MLflow answers again: what was kept is sent")
        return True

    def _wait(self) -> None:
        """Wait until it is worth another try; the stage's end cuts that short."""
        if self._ended.is_set():
            self._stopped.wait(PAUSE_SECONDS / 4)
        else:
            self._ended.wait(PAUSE_SECONDS)


def _replay(journal: Journal) -> None:
    """Send a whole journal, whatever of it was sent before."""
    runs = Runs(journal.key, late=True)
    messages = journal.read()
    for message in _group(messages):
        _send(runs, message)
    for run in list(runs.ids):  # the recorder was killed, too
        runs.close(run, messages[-1]["milliseconds"], "KILLED")


def _send(runs: Runs, message: dict) -> None:
    """Do what a message says. Raises only what may pass: a refusal is said, and that is all."""
    arguments = dict(message)
    action, run = arguments.pop("do"), arguments["run"]
    if action not in ("open", "close", "metrics"):
        del arguments["milliseconds"]
    if action != "open" and run not in runs.ids:
        return  # it was refused
    try:
        getattr(runs, action)(**arguments)
    except Exception as error:
        if _may_pass(error):
            raise
        say(f"warning: tracking: {action}: {first_line(error)}")


def _complete(message: dict) -> dict:
    """Add to a message what can only be known now; put metrics as the rows that MLflow takes."""
    if message["do"] not in ACTIONS:
        raise ValueError(f"no action: {message['do']}")
    if message["do"] in ("artifact", "dataset"):
        return message | {"sha256": hash_files(Path(message["path"]))}
    if message["do"] == "metrics":
        when, step = message["milliseconds"], message["step"]
        rows = [[name, value, when, step] for name, value in message["values"].items()]
        return {"do": "metrics", "run": message["run"], "milliseconds": when, "rows": rows}
    return message


def hash_files(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files in a folder."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(each for each in path.rglob("*") if each.is_file())
    rows = [f"{each.relative_to(path)} {hash_files(each)}" for each in files]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest() if path.is_dir() else ""


def _group(messages: Iterable[dict | None]) -> Iterator[dict]:
    """Put metrics of a run that come one after the other together: one call sends them all."""

    def same(message: dict | None) -> object:
        return message and (message["do"], message["run"])

    for _, some in groupby(messages, same):
        group = [message for message in some if message]
        if group and group[0]["do"] == "metrics":
            rows = [row for message in group for row in message["rows"]]
            yield {"do": "metrics", "run": group[0]["run"], "rows": rows}
        else:
            yield from group


SILENT = "does not answer"


def _explain(error: Exception) -> str:
    """Return what is wrong with MLflow, to stand behind its name."""
    reason = first_line(error)
    # MLflow adds what its HTTP library says, at length.
    return SILENT if "failed with exception" in reason else f"says: {reason}"


def _may_pass(error: Exception) -> bool:
    """Return whether the same message may be taken another time."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code not in REFUSALS
    return isinstance(
        error,
        (
            requests.RequestException,
            SQLAlchemyError,
            ConnectionError,
            TimeoutError,
            EnvironmentFailure,
        ),
    )


def main() -> None:
    """Record what standard input says."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # the sender tries again itself
    gc.disable()  # imports make a great many objects and no garbage
    import mlflow  # noqa: F401  (takes seconds: better before the first line comes than after)

    gc.enable()
    record(sys.stdin.buffer)


if __name__ == "__main__":
    keep_writing()
    main()
    sys.stderr.flush()
    os._exit(0)  # all is written; taking MLflow down in good order would take a second
