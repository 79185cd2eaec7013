"""Runs that are killed between their last stage and their end are finished by the next ones."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.support.checkouts import SECONDS, run_pipeline

pytestmark = pytest.mark.slow  # six runs of the pipeline
NAME = "diffusevae-smoke"
STEPS = ["register", "judge_candidate", "record", "hand_on"]
# Lets the flow die at a step as a kill -9 does: nothing of it runs any more.
DYING = """\
import os, sys
import flows.pipeline
from flows.start import run
setattr(flows.pipeline, sys.argv[1], lambda *_, **__: os._exit(9))
run("smoke")
"""


@pytest.fixture(scope="module")
def checkout(smoke_checkout, tmp_path_factory) -> Path:
    """A copy of the finished run's checkout, with a remote of DVC's."""
    copy = tmp_path_factory.mktemp("finishing") / "checkout"
    shutil.copytree(smoke_checkout, copy, symlinks=True)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "dvc",
            "remote",
            "add",
            "--local",
            "--default",
            "store",
            str(copy.parent / "remote"),
        ],
        cwd=copy,
        check=True,
        capture_output=True,
    )
    return copy


@pytest.fixture(scope="module")
def client(checkout) -> MlflowClient:
    """The checkout's registry, in which nothing is registered: as before the last steps."""
    client = MlflowClient(f"sqlite:///{checkout / 'mlflow/mlflow.db'}")
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return client


def die_at(checkout: Path, step: str, prefect_server: str) -> None:
    environment = os.environ | {
        "PYTHONPATH": f"{checkout / 'src'}:{checkout}",
        "PREFECT_API_URL": prefect_server,
    }
    done = subprocess.run(
        [sys.executable, "-c", DYING, step],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 9, done.stdout[-3000:]


def find_state(client: MlflowClient, checkout: Path) -> list[str]:
    """Return which of the last steps are done, by what they leave."""
    versions = client.search_model_versions(f"name = '{NAME}'")
    done = ["register"] * len(versions)
    for version in versions:
        tags = client.get_model_version(NAME, version.version).tags
        done += ["judge_candidate"] * ("gate" in tags) + ["record"] * ("recorded" in tags)
    remote = checkout.parent / "remote"
    return done + ["hand_on"] * (sum(path.is_file() for path in remote.rglob("*")) > 20)


@pytest.mark.fault("F3", "R5")
def test_a_run_does_what_the_killed_one_before_it_left(checkout, client, prefect_server):
    """Each dies one step later, so each has another's work to go on with, and does it once."""
    for number, step in enumerate(STEPS):
        die_at(checkout, step, prefect_server)
        assert find_state(client, checkout) == STEPS[:number]
    done = run_pipeline(checkout, "smoke", PREFECT_API_URL=prefect_server)
    assert done.returncode == 0 and "Running stage" not in done.stdout
    assert find_state(client, checkout) == STEPS


def test_what_they_did_together_is_what_one_run_does(checkout, client):
    [version] = client.search_model_versions(f"name = '{NAME}'")
    tags = client.get_model_version(NAME, version.version).tags
    assert tags["gate"] == "first"
    assert client.get_model_version_by_alias(NAME, "champion").version == version.version
    runs = client.search_runs(
        [client.get_experiment_by_name("smoke").experiment_id], "attributes.run_name = 'pipeline'"
    )
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    for run in runs:
        assert run.info.status == "KILLED" or "diffusevae_ssim" in run.data.metrics
    recorded = client.get_run(tags["recorded"])
    assert recorded.info.status == "FINISHED"
    assert {file.path for file in client.list_artifacts(recorded.info.run_id)} >= {
        "dvc.lock",
        "smoke-rerun.html",
        "smoke.html",
    }


def test_then_nothing_is_left_to_do_but_to_close_what_a_killed_run_left_open(
    checkout, client, prefect_server
):
    """A kill may come when all is recorded, and the parent run not yet closed."""
    [version] = client.search_model_versions(f"name = '{NAME}'")
    run = client.get_model_version(NAME, version.version).tags["recorded"]
    client.update_run(run, "RUNNING")
    done = run_pipeline(checkout, "smoke", PREFECT_API_URL=prefect_server)
    assert done.returncode == 0 and "nothing changed" in done.stdout
    assert client.get_run(run).info.status == "KILLED"
