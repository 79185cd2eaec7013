"""Writes a stage's runs to MLflow, as told by JSON lines.

    python -m diffusevae.recorder    (reads them from its standard input)

A line is {"do": one of ACTIONS, "run": a number of the stage's choice, ...: its arguments}. What
fails is said once, and ends the recording, never the stage. When the input ends, runs that nobody
closed are closed as KILLED: so a stage that is killed outright is not left RUNNING.
"""

import gc
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from diffusevae.mlflow_store import connect, experiment_id, first_line


class Runs:
    """The open MLflow runs of one stage, by the stage's own numbers."""

    def __init__(self) -> None:
        self.client = None
        self.ids: dict[int, str] = {}

    def open(
        self, run: int, name: str, parent: int | str | None, params: dict, tags: dict,
        experiment: str,
    ) -> None:  # fmt: skip
        """Start a run under `parent`, a run's number here or id in MLflow, or in an experiment."""
        from mlflow.entities import Param

        self.client = self.client or connect()
        parent = self.ids.get(parent, parent)
        if parent:
            tags = tags | {"mlflow.parentRunId": parent}
            place = self.client.get_run(parent).info.experiment_id
        else:
            place = experiment_id(self.client, experiment)
        self.ids[run] = self.client.create_run(place, run_name=name, tags=tags).info.run_id
        rows = [Param(key, value) for key, value in params.items()]
        self.client.log_batch(self.ids[run], params=rows)

    def metrics(self, run: int, values: dict, step: int, milliseconds: int) -> None:
        """Record numbers by name."""
        from mlflow.entities import Metric

        rows = [Metric(name, value, milliseconds, step) for name, value in values.items()]
        self.client.log_batch(self.ids[run], metrics=rows)

    def artifact(self, run: int, path: str) -> None:
        """Store a file, or a folder under its own name."""
        if Path(path).is_dir():
            self.client.log_artifacts(self.ids[run], path, Path(path).name)
        else:
            self.client.log_artifact(self.ids[run], path)

    def tag(self, run: int, name: str, value: str) -> None:
        """Set a tag."""
        self.client.set_tag(self.ids[run], name, value)

    def dataset(self, run: int, path: str, context: str) -> None:
        """Record the data set a stage read: its name and the SHA-256 of the file as digest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        data = Dataset(name=Path(path).parent.name, digest=digest[:36], source_type="local",
                       source=json.dumps({"path": path, "sha256": digest}))
        tags = [InputTag("mlflow.data.context", context)]
        self.client.log_inputs(self.ids[run], datasets=[DatasetInput(data, tags)])

    def close(self, run: int, status: str) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.ids.pop(run), status)


ACTIONS = ("open", "metrics", "artifact", "tag", "dataset", "close")


def record(lines: Iterable[bytes]) -> None:
    """Do what the lines say until they end."""
    runs = Runs()
    try:
        for line in lines:
            message = json.loads(line)
            action = message.pop("do")
            assert action in ACTIONS, action
            getattr(runs, action)(**message)
        for run in list(runs.ids):
            runs.close(run, "KILLED")
    except Exception as error:  # whatever a tracking server does, a training must not die of it
        said = "tracking stops here" if runs.ids else "tracking is off"
        print(f"warning: {said}: {first_line(error)}", file=sys.stderr, flush=True)


def main() -> None:
    """Record what standard input says."""
    gc.disable()  # imports make a great many objects and no garbage
    import mlflow  # noqa: F401  (takes seconds: better before the first line comes than after)

    gc.enable()
    record(sys.stdin.buffer)


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    os._exit(0)  # all is written; taking MLflow down in good order would take a second
