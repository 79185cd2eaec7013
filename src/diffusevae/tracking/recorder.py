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
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Thread

from diffusevae.core.parent import keep_writing
from diffusevae.tracking.journal import create_journal
from diffusevae.tracking.mlflow_store import first_line
from diffusevae.tracking.runs import ACTIONS, hash_files
from diffusevae.tracking.sender import WAIT_SECONDS, Sender, say, send_unsent
from diffusevae.tracking.system_metrics import SystemMetrics

STAGE = 0  # the number of a stage's own run; its trials' follow


def record(lines: Iterable[bytes]) -> None:
    """Do what the lines say until they end; keep what MLflow does not take within WAIT_SECONDS."""
    sender, metrics = None, None
    opened: dict[int, None] = {}
    try:
        for line in lines:
            message = _complete(json.loads(line))
            if sender is None:
                sender = Sender(create_journal())
                sender.start()
                unsent = Thread(target=send_unsent, daemon=True)
                unsent.start()
            if message["do"] == "close" and message["run"] == STAGE and metrics is not None:
                metrics.stop()
            sender.take(message)
            if message["do"] == "open":
                opened[message["run"]] = None
                if message["run"] == STAGE:
                    metrics = SystemMetrics(STAGE, sender.pass_on)
                    metrics.start()
            elif message["do"] == "close":
                opened.pop(message["run"], None)
        if metrics is not None:
            metrics.stop()
        if sender is not None:
            now = int(time.time() * 1000)
            for run in opened:
                sender.take({"do": "close", "run": run, "milliseconds": now, "status": "KILLED"})
            sender.finish()
            unsent.join(WAIT_SECONDS if not sender.is_alive() else 0)
    except (OSError, ValueError) as error:  # no disk, say: a training must not die of it
        say(f"warning: tracking stops here: {first_line(error)}")


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
