"""What a stage leaves in MLflow: a real store in a folder of its own."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import contextmanager

import pytest

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import load_config
from diffusevae.tracking.mlflow_store import connect, experiment_id
from diffusevae.tracking.recorder_client import Recorder
from diffusevae.tracking.stage_logger import PARENT_VARIABLE, track_stage
from diffusevae.training.loop import OptimiserConfig
from tests.support.checkouts import ROOT
from tests.support.toy_splits import write_split

OPTIMISER = OptimiserConfig(0.1, "none", 4, 1.0, 0.9)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A folder with a store of its own; each test uses an MLflow experiment of its own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("store")
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", "")
        patch.delenv(PARENT_VARIABLE, raising=False)
        yield folder


@contextmanager
def tracked(stage: str, key: str, params: dict):
    with Recorder() as recorder, track_stage(stage, key, params, recorder) as log:
        yield log


def runs_of(client, name: str) -> list:
    return client.search_runs([experiment_id(client, name)], order_by=["start_time ASC"])


def test_a_stage_is_a_run_with_params_metrics_artifacts_and_its_data(store, capsys):
    (store / "data").mkdir()
    data = store / "data" / "train.bin"
    data.write_bytes(b"pixels")
    with tracked("train_vae", "smoke", {"seed": 3, "optimiser": OPTIMISER}) as log:
        log.epoch({"epoch": 1, "train_loss": 0.5})
        log.epoch({"epoch": 2, "train_loss": 0.25})
        log.dataset(data, "training")
        log.artifact(data)
        log.tag("model_sha256", "abc")
        log.timing("seconds_per_image", 0.5)
    assert "epoch 2  train_loss 0.25" in capsys.readouterr().out
    client = connect()
    (run,) = runs_of(client, "smoke")
    assert run.info.status == "FINISHED"
    assert run.data.params["optimiser.learning_rate"] == "0.1" and run.data.params["seed"] == "3"
    history = client.get_metric_history(run.info.run_id, "train_loss")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.25)]
    assert run.data.tags["stage"] == "train_vae" and run.data.tags["model_sha256"] == "abc"
    assert run.inputs.dataset_inputs[0].dataset.name == "data"
    assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["train.bin"]
    timings = json.loads((store / "scratch/timings/smoke/train_vae.json").read_text())
    assert timings["seconds_per_image"] == 0.5 and timings["seconds"] >= 0


def test_the_params_of_a_training_are_those_it_was_done_with(store, tmp_path):
    """What a search found takes the place of params.yaml's values."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "best.yaml").write_text("{vae: {dropout: 0.25}, vae_optimiser: {batch_size: 16}}")
    for seed, name in enumerate(("train", "validation")):
        write_split(tmp_path / name, 32, seed)
    address = f"sqlite:///{store / 'mlflow/mlflow.db'}"
    connect()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "diffusevae.stages",
            "train_vae",
            "smoke",
            "--train",
            "train",
            "--validation",
            "validation",
            "--best",
            "best.yaml",
            "--out",
            "out",
        ],
        cwd=tmp_path,
        env=os.environ | {"MLFLOW_TRACKING_URI": address},
        check=True,
        timeout=300,
    )
    run = runs_of(connect(), "smoke")[-1]
    trained = load_config(tmp_path / "out/model.safetensors")["vae"]
    assert run.data.params["vae.dropout"] == str(trained["dropout"]) == "0.25"
    assert run.data.params["vae_optimiser.batch_size"] == "16"
    assert run.data.params["vae.base_channels"] == str(trained["base_channels"]) == "8"


def test_runs_nest_trial_under_stage_under_pipeline(store, monkeypatch):
    client = connect()
    parent = client.create_run(experiment_id(client, "nested"), run_name="pipeline")
    monkeypatch.setenv(PARENT_VARIABLE, parent.info.run_id)
    with tracked("tune_vae", "mnist_tiny", {}) as log:
        with log.trial(0, {"vae": {"dropout": 0.1}}) as trial:
            trial.epoch({"epoch": 1, "validation_loss": 1.0})
    runs = {run.info.run_name: run for run in runs_of(client, "nested")}
    assert set(runs) == {"pipeline", "tune_vae", "trial 0"}
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    assert parents["tune_vae"] == parent.info.run_id
    assert parents["trial 0"] == runs["tune_vae"].info.run_id
    assert runs["trial 0"].data.params == {"vae.dropout": "0.1"}


@pytest.mark.parametrize("raised, status", [(ValueError, "FAILED"), (SystemExit, "KILLED")])
def test_a_stage_that_ends_badly_is_not_left_running(store, raised, status):
    with pytest.raises(raised):
        with tracked("sample", status, {}):
            raise raised
    assert [run.info.status for run in runs_of(connect(), status)] == [status]
    assert not (store / "scratch/timings" / status).exists()  # no timing of what was not done


def test_a_trial_ends_as_it_ended(store):
    ends = {"done": None, "failed": RuntimeError, "killed": KeyboardInterrupt, "pruned": Worse}
    with tracked("tune_vae", "ends", {}) as log:
        for name, raised in ends.items():
            with contextlib.suppress(RuntimeError, KeyboardInterrupt, Worse):
                with log.trial(name, {}, (Worse,)):
                    if raised:
                        raise raised("epoch 2")
    runs = {run.info.run_name: run for run in runs_of(connect(), "ends")}
    assert {name: run.info.status for name, run in runs.items()} == {
        "tune_vae": "FINISHED",
        "trial done": "FINISHED",
        "trial failed": "FAILED",
        "trial killed": "KILLED",
        "trial pruned": "FINISHED",
    }
    tags = {name: run.data.tags.get("pruned") for name, run in runs.items()}
    assert tags.pop("trial pruned") == "epoch 2" and not any(tags.values())


class Worse(Exception):
    """What ends a trial that is not worth going on with."""


def test_a_stage_that_is_killed_outright_is_not_left_running(store):
    code = (
        "import os\nfrom diffusevae.tracking.recorder_client import Recorder\n"
        "from diffusevae.tracking.stage_logger import track_stage\n"
        "with Recorder() as r, track_stage('sample', 'killed', {}, r) as log:\n"
        "    with log.trial(0, {}):\n"
        "        os.kill(os.getpid(), 9)"
    )
    # The recorder holds the other end of the pipe, so this returns when it has ended too.
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=120)
    runs = {run.info.run_name: run.info.status for run in runs_of(connect(), "killed")}
    assert runs == {"sample": "KILLED", "trial 0": "KILLED"}


def test_bad_input_leaves_nothing_in_the_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    with pytest.raises(InputError), Recorder():
        raise InputError("params.yaml: bad; mend it")
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_away_does_not_stop_the_work(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with tracked("sample", "smoke", {}) as log:
        log.epoch({"epoch": 1, "train_loss": 0.5})
    captured = capfd.readouterr()
    assert "train_loss 0.5" in captured.out
    assert "warning: MLflow does not answer: what is recorded is kept" in captured.err
    [kept] = tmp_path.glob("scratch/unsent/*/*.jsonl")
    assert f"kept in {kept.relative_to(tmp_path)}; the next run sends it" in captured.err


def test_processes_may_open_a_new_store_at_once(tmp_path):
    code = (
        "from diffusevae.tracking.recorder_client import Recorder\n"
        "from diffusevae.tracking.stage_logger import track_stage\n"
        "with Recorder() as r, track_stage('prepare', 'smoke', {}, r): pass"
    )
    environment = os.environ | {"MLFLOW_TRACKING_URI": ""}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    warnings = [child.communicate(timeout=180)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], warnings
    assert not [text for text in warnings if "tracking" in text], warnings
    with sqlite3.connect(tmp_path / "mlflow/mlflow.db") as database:
        rows = database.execute("SELECT status FROM runs").fetchall()
    assert rows == [("FINISHED",)] * 3
