"""The runs of one stage in MLflow: each action on them, safe to do twice."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from diffusevae.tracking.mlflow_store import connect, experiment_id

if TYPE_CHECKING:  # imported where used: MLflow takes seconds
    from mlflow import MlflowClient

METRICS_PER_CALL = 1000  # MLflow's limit for metrics


class Runs:
    """The MLflow runs of one journal, by the stage's own numbers."""

    def __init__(self, key: str, late: bool = False) -> None:
        """`late`: the stage has ended, so that its files may be others by now."""
        self.key = key
        self.late = late
        self._client: MlflowClient | None = None
        self.ids: dict[int, str] = {}
        self.places: dict[int, str] = {}
        self._begun: dict[int, int] = {}  # milliseconds

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
        self._begun[run] = found[0].info.start_time
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
        """End a run as FINISHED, FAILED or KILLED; not before its start, wherever clocks went."""
        self.client.set_terminated(self.ids[run], status, max(milliseconds, self._begun[run]))
        # A server that was slow to answer may have made the run twice, the first time after we
        # had looked for it.
        for twin in self._find(run):
            if twin.info.run_id != self.ids[run]:
                self.client.delete_run(twin.info.run_id)
        del self.ids[run]

    def _find(self, run: int) -> list:
        return self.client.search_runs([self.places[run]], f"tags.record = '{self.key}.{run}'")


ACTIONS = ("open", "metrics", "artifact", "tag", "dataset", "close")


def hash_files(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files in a folder."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(each for each in path.rglob("*") if each.is_file())
    rows = [f"{each.relative_to(path)} {hash_files(each)}" for each in files]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest() if path.is_dir() else ""
