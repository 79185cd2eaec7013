"""The MLflow run of a whole pipeline run, under which every stage's own run is nested."""

import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from diffusevae.core.address import is_http
from diffusevae.core.errors import EnvironmentFailure
from diffusevae.tracking.mlflow_store import (
    connect,
    experiment_id,
    file_failure,
    first_line,
    tracking_uri,
)
from diffusevae.tracking.recorder_client import flatten_params
from diffusevae.tracking.stage_logger import NOTE
from tasks.links import link_commit, link_file

if TYPE_CHECKING:  # MLflow takes seconds to import, and a run that changes nothing needs none of it
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from tasks.stage import StageResult

CODE_ONLY = (".", ":(exclude)dvc.lock")  # for git
PARAMS_PER_CALL = 100  # MLflow's limit
SECONDS_TO_ANSWER = 10  # for a server that is asked whether it is there


@dataclass(frozen=True)
class ParentRun:
    """An open run: its id, and what can be recorded in it."""

    client: "MlflowClient"
    id: str

    def record_stages(self, results: Sequence["StageResult"]) -> None:
        """Tag which stages ran and which had nothing to do."""
        for tag, ran in (("stages_run", True), ("stages_skipped", False)):
            names = [result.target for result in results if result.ran == ran]
            self.client.set_tag(self.id, tag, " ".join(names))

    def record_params(self, params: Mapping[str, object]) -> None:
        """Log what was really trained, as `section.key`: by that runs are found."""
        from mlflow.entities import Param

        rows = [Param(name, str(value)) for name, value in flatten_params(params).items()]
        for i in range(0, len(rows), PARAMS_PER_CALL):
            self.client.log_batch(self.id, params=rows[i : i + PARAMS_PER_CALL])

    def record_outcome(
        self, metrics: Mapping[str, float], of_model: Mapping[str, float], model_id: str | None
    ) -> None:
        """Log the run's metrics, what belongs to the registered model also there, and the lock's
        hash.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        rows = [
            Metric(name, value, now, 0, model_id=model_id if name in of_model else None)
            for name, value in {**metrics, **of_model}.items()
        ]
        self.client.log_batch(self.id, metrics=rows)
        digest = hashlib.sha256(Path("dvc.lock").read_bytes()).hexdigest()
        self.client.set_tag(self.id, "dvc_lock_sha256", digest)

    def record_file(self, path: Path) -> None:
        """Store a file with the run."""
        self.client.log_artifact(self.id, path)


def describe_run(experiment: str, run: "Run") -> str:
    """Return the Markdown by which MLflow's page of a run says what it is."""
    return (
        f"A run of the pipeline on `{experiment}`, code of commit "
        f"{link_commit(run.data.tags.get('git_commit', ''))}. Its params are those that the models "
        "were trained with, what the searches found among them. Under it stands a run for each "
        "stage that had something to do. Its artifacts have the "
        f"{link_file('report', run, f'{experiment}.html')}, what changed since the run before, and "
        f"{link_file('`dvc.lock`', run, 'dvc.lock')}: every input and output by its hash."
    )


@contextmanager
def open_parent_run(experiment: str, dataset: str) -> Iterator[ParentRun]:
    """Open the run and close it as FINISHED, FAILED or KILLED.

    For one run of the pipeline at a time in a checkout (`own_checkout`). Raises
    EnvironmentFailure where MLflow's server or store fails.
    """
    with mlflow_failures():
        client = connect()
        group = experiment_id(client, experiment)
        tags = {"checkout": _checkout()} | git_tags()
        run = client.create_run(group, run_name="pipeline", tags=tags)
        client.set_tag(run.info.run_id, NOTE, describe_run(experiment, run))
        parent = ParentRun(client, run.info.run_id)
        client.log_param(parent.id, "experiment", experiment)
        client.log_param(parent.id, "dataset", dataset)
    status = "KILLED"  # what stays where nothing was raised that a program raises
    try:
        with mlflow_failures():
            yield parent
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        with mlflow_failures():
            _end(client, run, status)


def close_abandoned(experiment: str) -> None:
    """Close what a run of this checkout left open when it was killed without a chance to do so.

    For whoever holds the checkout: a run that is at work there would be closed too. Raises
    EnvironmentFailure where MLflow's server or store fails.
    """
    abandoned = f"tags.checkout = '{_checkout()}' and attributes.status = 'RUNNING'"
    with mlflow_failures():
        client = connect()
        for run in client.search_runs([experiment_id(client, experiment)], abandoned):
            _end(client, run, "KILLED")


def _end(client: "MlflowClient", run: "Run", status: str) -> None:
    """End a run, not before its start, wherever the clock went."""
    now = int(time.time() * 1000)
    client.set_terminated(run.info.run_id, status, max(now, run.info.start_time))


@contextmanager
def mlflow_failures() -> Iterator[None]:
    """Turn what MLflow raises into one line that names its address, or its file."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, requests.RequestException) as error:
        if failure := file_failure(error):
            raise failure from error
        reason = first_line(error)
        # MLflow adds what its HTTP library says, at length.
        if isinstance(error, requests.RequestException) or "failed with exception" in reason:
            reason = "does not answer"
        raise EnvironmentFailure(
            f"MLflow at {os.environ.get('MLFLOW_TRACKING_URI')}: {reason}; "
            "see that it runs, or mend MLFLOW_TRACKING_URI, then start "
            "again: finished stages are kept"
        ) from error


@contextmanager
def active_run(run_id: str) -> Iterator[None]:
    """Let what MLflow's own functions log belong to an open run, and leave it open.

    MLflow ends a run with the block: were this process killed then, the run would count as
    finished.
    """
    import mlflow

    with mlflow.start_run(run_id=run_id):
        yield
    connect().update_run(run_id, status="RUNNING")


def require_mlflow() -> None:
    """Raise EnvironmentFailure where MLflow does not answer, or not with this login.

    Raises InputError where its address is none.
    """
    with mlflow_failures():
        client = connect()
        if is_http(address := tracking_uri()):  # MLflow itself asks again and again, for a minute
            requests.get(f"{address}/health", timeout=SECONDS_TO_ANSWER)
        client.search_experiments(max_results=1)


def read_metrics(path: Path) -> dict[str, float]:
    """Return the main values of a metrics.json by one name each, e.g. diffusevae_ssim.

    Raises InputError for a file that is none.
    """
    from diffusevae.metrics.evaluation import flatten
    from diffusevae.metrics.measured import read_metrics as read_all

    return flatten(read_all(path))


def _checkout() -> str:
    """Return what tells this folder of this machine from others that use the same server."""
    return hashlib.sha256(f"{socket.gethostname()}:{Path.cwd()}".encode()).hexdigest()[:16]


def git_tags() -> dict[str, str]:
    """Return the commit, marked -dirty where files differ from it; nothing where there is none.

    dvc.lock may differ: a run writes it, and keeps it.
    """
    try:
        head, changes = (
            subprocess.run(["git", *command], capture_output=True, text=True, timeout=20)
            for command in (["rev-parse", "HEAD"], ["diff", "--quiet", "HEAD", "--", *CODE_ONLY])
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if head.returncode:
        return {}
    return {"git_commit": head.stdout.strip() + "-dirty" * (changes.returncode != 0)}
