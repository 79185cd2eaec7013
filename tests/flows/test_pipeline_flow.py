"""The whole pipeline on `smoke`, in a checkout of its own, on a Prefect server of its own."""

import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.settings import PREFECT_API_URL, temporary_settings

from diffusevae.core.parent import tie
from diffusevae.core.yaml_file import read_yaml
from diffusevae.experiments.experiment import load_experiment
from tests.support.checkouts import CANARY, LOGIN, SmokeRun, copy_checkout, run_pipeline

STAGES = load_experiment("smoke").targets


@pytest.fixture(scope="module")
def flow_run(smoke_run: SmokeRun):
    """The one flow run on the server, with its task runs and artifacts."""
    with temporary_settings({PREFECT_API_URL: smoke_run.api_url}):
        with get_client(sync_client=True) as client:
            [run_id] = re.findall(r"flow-run/([0-9a-f-]{36})", smoke_run.output)
            run = client.read_flow_run(run_id)
            tasks = client.read_task_runs(
                task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run.id]))
            )
            artifacts = client.read_artifacts(
                artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
            )
    return run, tasks, artifacts


@pytest.fixture(scope="module")
def mlflow_runs(smoke_run: SmokeRun):
    """All runs of the MLflow experiment `smoke`: the parent, and the others by name."""
    client = mlflow_client(smoke_run.checkout)
    runs = client.search_runs([client.get_experiment_by_name("smoke").experiment_id])
    [parent] = [run for run in runs if run.info.run_name == "pipeline"]
    return parent, [run for run in runs if run is not parent]


def mlflow_client(checkout: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{checkout / 'mlflow/mlflow.db'}")


@pytest.mark.fault("S4")
def test_no_password_is_shown_or_stored(smoke_run):
    """Of those in its environment and in git's settings: Prefect's, MLflow's, the remote's."""
    passwords = [CANARY.encode(), LOGIN.partition(":")[2].encode()]
    home = Path(os.environ["PREFECT_HOME"])
    files = [
        path
        for folder in (smoke_run.checkout, home)
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    ]
    names = {path.name for path in files}
    assert {"mlflow.db", "prefect.db", "server.log", "dvc.lock", "params.yaml"} <= names
    holders = [path for path in files if any(each in path.read_bytes() for each in passwords)]
    assert holders == [] and not any(each in smoke_run.output.encode() for each in passwords)
    listed = "\n".join(smoke_run.commands)
    assert "diffusevae.stages" in listed and "prefect server start" in listed
    assert not any(each.decode() in listed for each in passwords)


def test_what_a_run_starts_listens_on_loopback_alone(smoke_run):
    assert smoke_run.listeners == {"127.0.0.1"}


def test_the_server_holds_a_completed_run_with_a_task_for_every_stage(flow_run):
    run, tasks, _ = flow_run
    assert run.name == "smoke" and run.state.is_completed()
    assert [task.name for task in sorted(tasks, key=lambda task: task.start_time)] == [
        *STAGES,
        "publish",
        "register",
        "gate",
    ]
    assert all(task.state.is_completed() for task in tasks)


def test_the_server_shows_progress_stages_and_metrics(flow_run):
    _, _, artifacts = flow_run
    shown = {artifact.key: artifact for artifact in artifacts}
    assert {key: artifact.type for key, artifact in shown.items()} == {
        "smoke-progress": "progress",
        "smoke-stages": "table",
        "smoke-metrics": "table",
    }
    assert shown["smoke-progress"].data == 100
    assert all(stage in shown["smoke-stages"].data for stage in STAGES)
    assert "diffusevae_ssim" in shown["smoke-metrics"].data


def test_mlflow_nests_a_finished_run_of_every_stage_under_one_parent(mlflow_runs):
    parent, others = mlflow_runs
    children = [
        run for run in others if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]
    assert sorted(run.info.run_name for run in children) == sorted(
        stage.split("@")[0] for stage in STAGES
    )
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}


def test_runs_are_found_by_what_was_trained_and_how_good_it_is(smoke_run, mlflow_runs):
    """The tuned values, and so as MLflow's page takes them."""
    parent, _ = mlflow_runs
    best = read_yaml(smoke_run.checkout / "artifacts/smoke/tune_vae/best.yaml")
    [(section, values), *_] = best.items()
    [(key, value), *_] = values.items()
    client = mlflow_client(smoke_run.checkout)
    for sign, found in (("=", [parent.info.run_id]), ("!=", [])):
        runs = client.search_runs(
            [parent.info.experiment_id],
            f"params.{section}.{key} {sign} '{value}' and metrics.diffusevae_ssim > 0.01",
        )
        assert [run.info.run_id for run in runs] == found


def test_a_stage_s_run_has_the_machine_s_load_and_its_pictures(smoke_run, mlflow_runs):
    _, others = mlflow_runs
    stages = [run for run in others if "stage" in run.data.tags]
    for run in stages:
        assert run.data.metrics["system/system_memory_usage_megabytes"] > 100
        assert 0 <= run.data.metrics["system/cpu_utilization_percentage"] <= 100
        assert f"`{run.data.tags['stage']}@" in run.data.tags["mlflow.note.content"]
    [figures] = [run for run in stages if run.info.run_name == "figures"]
    files = mlflow_client(smoke_run.checkout).list_artifacts(figures.info.run_id, "figures")
    assert {"figures/reconstructions.png", "figures/generated.png"} <= {file.path for file in files}


def test_the_parent_run_tells_what_ran_on_which_lock_and_how_good_it_is(smoke_run, mlflow_runs):
    parent, _ = mlflow_runs
    lock = (smoke_run.checkout / "dvc.lock").read_bytes()
    wanted = {"experiment": "smoke", "dataset": "mnist_tiny"}
    assert wanted.items() <= parent.data.params.items()
    assert f"`{wanted['experiment']}`" in parent.data.tags["mlflow.note.content"]
    assert parent.data.tags["stages_run"].split() == STAGES
    assert parent.data.tags["stages_skipped"] == ""
    assert parent.data.tags["dvc_lock_sha256"] == hashlib.sha256(lock).hexdigest()
    assert 0 < parent.data.metrics["diffusevae_ssim"] <= 1
    files = mlflow_client(smoke_run.checkout).list_artifacts(parent.info.run_id)
    assert [file.path for file in files] == ["dvc.lock", "smoke-rerun.html", "smoke.html"]


def test_the_published_report_is_the_stage_s_with_every_stage_s_time(smoke_run):
    published = (smoke_run.checkout / "reports/smoke.html").read_text()
    original = (smoke_run.checkout / "artifacts/smoke/report/report.html").read_text()
    for stage in STAGES:
        name = stage if stage.startswith("download") else stage.split("@")[0]
        row = f'<tr><th scope="row">{name}</th>'
        assert published.count(row) == original.count(row) + 1


def test_the_last_lines_say_where_everything_is(smoke_run):
    report, mlflow, model = smoke_run.output.strip().splitlines()[-3:]
    assert report.split() == ["report", str(smoke_run.checkout / "reports/smoke.html")]
    assert mlflow.startswith("MLflow  `diffusevae mlflow`")
    assert model.split(maxsplit=1) == ["model", "diffusevae-smoke, version 1"]


def test_the_output_streams_stages_without_dvc_s_hints(smoke_run):
    assert re.search(r"Task run 'train_vae@smoke' - epoch 2  train_loss", smoke_run.output)
    assert "dvc push" not in smoke_run.output and "didn't change" not in smoke_run.output


def test_a_second_run_says_that_nothing_changed_and_does_nothing(smoke_run, mlflow_runs):
    lock = smoke_run.checkout / "dvc.lock"
    before = lock.read_bytes()
    again = run_pipeline(smoke_run.checkout, "smoke")  # on a temporary server
    assert again.returncode == 0
    assert "nothing changed: every stage of 'smoke' is up to date" in again.stdout
    assert "Running stage" not in again.stdout
    assert again.stdout.strip().splitlines()[-3:] == smoke_run.output.strip().splitlines()[-3:]
    assert lock.read_bytes() == before
    client = mlflow_client(smoke_run.checkout)
    runs = client.search_runs([client.get_experiment_by_name("smoke").experiment_id])
    assert len(runs) == 1 + len(mlflow_runs[1])
    assert len(client.search_model_versions("name = 'diffusevae-smoke'")) == 1


@pytest.fixture
def bare_checkout(tmp_path: Path) -> Path:
    return copy_checkout(tmp_path)


@pytest.mark.fault("B1")
def test_a_mistake_in_params_is_one_line_and_exit_code_2(bare_checkout, prefect_server):
    params = bare_checkout / "params.yaml"
    params.write_text(params.read_text().replace("num_steps: 5\n", "num_step: 5\n"))
    done = run_pipeline(bare_checkout, "smoke", PREFECT_API_URL=prefect_server)
    assert done.returncode == 2
    assert done.stdout.startswith(
        "error: params.yaml experiments.smoke.sampler.num_step: unknown "
        "key; did you mean 'num_steps'?"
    )
    assert done.stdout.count("\n") == 1


def test_a_stage_that_fails_ends_the_run_with_its_own_line_and_code(bare_checkout, prefect_server):
    assets = bare_checkout / "src/diffusevae/sources/assets.py"
    failing = 'def fetch(*_, **__):\n    raise EnvironmentFailure("disk: is full; free some")\n'
    assets.write_text(f"{assets.read_text()}\n\n{failing}")
    done = run_pipeline(bare_checkout, "smoke", PREFECT_API_URL=prefect_server)
    assert done.returncode == 3
    assert done.stdout.strip().splitlines()[-1] == "error: disk: is full; free some"
    assert "Traceback" not in done.stdout
    [parent] = _parents(bare_checkout)
    assert parent.info.status == "FAILED"
    assert parent.data.tags["stages_run"] == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_the_run_ends_its_stage_and_records_that(bare_checkout, number, code):
    """Ctrl-C reaches the whole process group, and with it whatever server the run had started."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"}
    run = subprocess.Popen(
        # A test suite in the background ignores SIGINT, and so would what it starts untied.
        tie([sys.executable, "-m", "diffusevae", "run", "smoke"]),
        cwd=bare_checkout,
        env=environment | {"PYTHONPATH": str(bare_checkout / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        next(line for line in run.stdout if "Running stage" in line)
        start = time.monotonic()
        os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
        said = run.stdout.read()
        assert run.wait(60) == code
        assert time.monotonic() - start < 60
    finally:
        run.kill()
    assert said.strip().splitlines()[-1].startswith("error: stopped by")
    [parent] = _parents(bare_checkout)
    assert parent.info.status == "KILLED"
    database = sqlite3.connect(bare_checkout / "scratch/prefect/prefect.db")
    assert database.execute("SELECT state_type FROM flow_run").fetchall() == [("CRASHED",)]
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "diffusevae.stages download mnist --out" not in listed


def _parents(checkout: Path) -> list:
    client = mlflow_client(checkout)
    runs = client.search_runs([client.get_experiment_by_name("smoke").experiment_id])
    return [run for run in runs if run.info.run_name == "pipeline"]
