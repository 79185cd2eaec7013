"""Sends what stages record to MLflow, now or later: in order, each line until it is through.

Where MLflow does not answer, it is tried again until the stage ends; what is left then, the next
stage or run sends. What MLflow refuses is said, and left out.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from queue import Empty, Queue
from threading import Event, Thread

from diffusevae.core.errors import EnvironmentFailure, hide_passwords
from diffusevae.tracking.journal import Journal, open_unsent
from diffusevae.tracking.mlflow_store import first_line
from diffusevae.tracking.runs import Runs

WAIT_SECONDS = 10  # from the first call that failed on, for MLflow to answer before a stage ends
LAST_TRY_SECONDS = 2  # at a stage's end, where it has been away for longer than that
PAUSE_SECONDS = 2  # between two tries
TRIES = 3  # of a kept journal: two writers that make the same entry at once disturb each other
# Tried again, what MLflow answers thus would be answered thus again.
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")
SILENT = "does not answer"


def send_unsent() -> bool:
    """Send what earlier stages could not, and say so; return whether nothing is left to send."""
    sent, reason = 0, ""
    for journal in open_unsent():
        if failed := _send_kept(journal):
            reason = failed
            if reason == SILENT:
                break  # so would it be for the others
        else:
            sent += 1
    if sent:
        say(f"MLflow: sent what {sent} stage{'s' * (sent > 1)} could not record at the time")
    if reason:
        say(f"warning: MLflow {reason}: what earlier stages could not record is still kept")
    return not reason


def say(text: str) -> None:
    """Print one line for the stage's log."""
    print(hide_passwords(text), file=sys.stderr, flush=True)


class Sender(Thread):
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
        self.pass_on(message)

    def pass_on(self, message: dict) -> None:
        """Send a message when its turn has come, without keeping it."""
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
                    "sends it, or `diffusevae send`"
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


def _send_kept(journal: Journal) -> str:
    """Send a whole journal and remove it; return why it could not be sent, if so."""
    reason = ""
    for _ in range(TRIES):
        try:
            _replay(journal)
            journal.remove()
            return ""
        except Exception as error:  # kept, and said
            reason = _explain(error)
            if reason == SILENT:
                break
    return reason


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
