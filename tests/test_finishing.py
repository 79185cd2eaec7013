"""A run that is killed between its last stage and its end is finished by the next one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SECONDS, run_pipeline
from mlflow import MlflowClient

NAME = "diffusevae-smoke"
# Lets the flow die at a step as a kill -9 does: nothing of it runs any more.
DYING = """\
import os, sys
import flows.pipeline
from flows.__main__ import main
setattr(flows.pipeline, sys.argv[1], lambda *_, **__: os._exit(9))
main(["smoke"])
"""


@pytest.fixture(scope="module")
def checkout(smoke_checkout, tmp_path_factory) -> Path:
    """A copy of the finished run's checkout, with a remote of DVC's."""
    copy = tmp_path_factory.mktemp("finishing") / "checkout"
    shutil.copytree(smoke_checkout, copy, symlinks=True)
    subprocess.run([sys.executable, "-m", "dvc", "remote", "add", "--local", "--default", "store",
                    str(copy.parent / "remote")], cwd=copy, check=True, capture_output=True)
    return copy


@pytest.fixture
def client(checkout, monkeypatch) -> MlflowClient:
    """The checkout's registry, in which nothing is registered: as before the last steps."""
    monkeypatch.chdir(checkout)
    client = MlflowClient(f"sqlite:///{checkout / 'mlflow/mlflow.db'}")
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return client


def die_at(checkout: Path, step: str, prefect_server: str) -> None:
    environment = os.environ | {"PYTHONPATH": f"{checkout / 'src'}:{checkout}",
                                "PREFECT_API_URL": prefect_server}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", DYING, step], cwd=checkout, env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=SECONDS)  # fmt: skip
    assert done.returncode == 9, done.stdout[-3000:]


@pytest.mark.parametrize("step", ["register", "judge_candidate", "record", "hand_on"])
def test_the_next_run_does_what_is_left(checkout, client, prefect_server, step):
    die_at(checkout, step, prefect_server)
    remote = checkout.parent / "remote"
    shutil.rmtree(remote, ignore_errors=True)

    done = run_pipeline(checkout, "smoke", PREFECT_API_URL=prefect_server)
    assert done.returncode == 0 and "Running stage" not in done.stdout
    [version] = client.search_model_versions(f"name = '{NAME}'")
    tags = client.get_model_version(NAME, version.version).tags
    assert tags["gate"] == "first" and "recorded" in tags
    assert client.get_model_version_by_alias(NAME, "champion").version == version.version
    runs = client.search_runs([client.get_experiment_by_name("smoke").experiment_id],
                              "attributes.run_name = 'pipeline'")  # fmt: skip
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    for run in runs:
        assert run.info.status == "KILLED" or "diffusevae_ssim" in run.data.metrics
    recorded = client.get_run(tags["recorded"])
    assert recorded.info.status == "FINISHED"
    assert {file.path for file in client.list_artifacts(recorded.info.run_id)} >= {
        "dvc.lock", "smoke-rerun.html", "smoke.html"}  # fmt: skip
    assert sum(path.is_file() for path in remote.rglob("*")) > 20


def test_then_nothing_is_left_to_do(checkout, prefect_server):
    done = run_pipeline(checkout, "smoke", PREFECT_API_URL=prefect_server)
    assert done.returncode == 0 and "nothing changed" in done.stdout
