from pathlib import Path

import pytest
from mlflow import MlflowClient

from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.tracking.mlflow_store import experiment_id
from tasks.parent_run import close_abandoned, open_parent_run, read_metrics
from tasks.stage import StageResult


def status(store: MlflowClient, run_id: str) -> str:
    return store.get_run(run_id).info.status


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, "FINISHED"),
        (InputError("x"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(143), "KILLED"),
    ],
)
def test_the_run_is_closed_as_it_ended(mlflow_store, error, expected):
    try:
        with open_parent_run("toy", "toy_data") as parent:
            assert status(mlflow_store, parent.id) == "RUNNING"
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error
    assert status(mlflow_store, parent.id) == expected


def test_what_a_killed_run_left_open_is_closed_in_its_checkout_only(mlflow_store, monkeypatch):
    killed = open_parent_run("toy", "toy_data")
    abandoned = killed.__enter__().id  # and never left
    Path("other").mkdir()
    monkeypatch.chdir("other")
    close_abandoned("toy")
    assert status(mlflow_store, abandoned) == "RUNNING"
    monkeypatch.chdir("..")
    close_abandoned("other")
    assert status(mlflow_store, abandoned) == "RUNNING"
    close_abandoned("toy")
    assert status(mlflow_store, abandoned) == "KILLED"


def test_what_ran_and_what_came_of_it_is_recorded(mlflow_store):
    Path("dvc.lock").write_text("abc")
    Path("file.txt").write_text("x")
    with open_parent_run("toy", "toy_data") as parent:
        parent.record_stages(
            [
                StageResult("a@b", True, 1.0),
                StageResult("c@b", False, 0.0),
                StageResult("d@b", True, 1.0),
            ]
        )
        model = mlflow_store.create_logged_model(experiment_id(mlflow_store, "toy"))
        parent.record_outcome(
            {"ssim": 0.5, "mse": 0.1}, {"mse": 0.1, "chosen": 2.0}, model.model_id
        )
        parent.record_file(Path("file.txt"))
    run = mlflow_store.get_run(parent.id)
    assert run.info.experiment_id == experiment_id(mlflow_store, "toy")
    assert run.data.params == {"experiment": "toy", "dataset": "toy_data"}
    assert run.data.metrics == {"ssim": 0.5, "mse": 0.1, "chosen": 2.0}
    of_model = mlflow_store.get_logged_model(model.model_id).metrics  # what belongs to it, only
    assert {metric.key: metric.value for metric in of_model} == {"mse": 0.1, "chosen": 2.0}
    assert (run.data.tags["stages_run"], run.data.tags["stages_skipped"]) == ("a@b d@b", "c@b")
    # SHA-256 of "abc", FIPS 180-2 appendix B.1
    assert run.data.tags["dvc_lock_sha256"].startswith("ba7816bf8f01cfea414140de5dae2223")
    assert [file.path for file in mlflow_store.list_artifacts(parent.id)] == ["file.txt"]


def test_a_store_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(EnvironmentFailure, match="MLflow at http://127.0.0.1:9: does not answer"):
        with open_parent_run("toy", "toy_data"):
            pass


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", b"{}", b'{"paired": 3}'])
def test_damaged_metrics_are_one_line(tmp_path, content):
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="metrics.json: .*make it again with the stage evaluate"):
        read_metrics(path)
