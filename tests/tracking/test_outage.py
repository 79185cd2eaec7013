"""A tracking server that goes away while a stage works, and comes back: nothing is missing then."""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from diffusevae.tracking.journal import FOLDER
from diffusevae.tracking.mlflow_store import connect
from diffusevae.tracking.recorder import record
from diffusevae.tracking.sender import send_unsent
from tasks.recording import serve_recorder
from tests.support.records import CLOSE, lines, runs_of
from tests.support.servers import MlflowServer

ROOT = Path(__file__).parents[2]
EPOCHS = 6
# A stage that says each epoch, then waits to be told to go on.
STAGE = f"""
import sys
from pathlib import Path
from diffusevae.tracking.recorder_client import Recorder
from diffusevae.tracking.stage_logger import track_stage
folder = Path("out")
with Recorder() as recorder, track_stage("train_vae", sys.argv[1], {{"seed": 3}}, recorder) as log:
    log.dataset(Path("data/train.bin"), "training")
    for epoch in range(1, {EPOCHS} + 1):
        log.epoch({{"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 2 / epoch}})
        sys.stdin.readline()
    folder.mkdir()
    (folder / "model.safetensors").write_text("weights")
    log.artifact(folder)
    log.tag("model_sha256", "abc")
"""


@pytest.fixture(scope="module")
def server(empty_store, tmp_path_factory):
    """A server that the tests of this module share; each uses an MLflow experiment of its own."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "mlflow").mkdir()
    shutil.copy(empty_store, folder / "mlflow/mlflow.db")
    served = MlflowServer(folder)
    try:
        served.start()
        yield served
    finally:
        served.kill()


@pytest.fixture
def served(server, tmp_path, monkeypatch) -> MlflowClient:
    """The client of the server's store, in a folder with a data set where the stage works."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.bin").write_bytes(b"pixels")
    return MlflowClient(server.store)


def start_stage(experiment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, experiment],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )


def go_on(stage: subprocess.Popen, epochs: int) -> None:
    for _ in range(epochs):
        stage.stdin.write("\n")


def wait_for_metrics(client: MlflowClient, name: str, number: int) -> None:
    """Return when the one run has so many values of a metric."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for run in runs_of(client, name):
            if len(client.get_metric_history(run.info.run_id, "train_loss")) >= number:
                return
        time.sleep(0.2)
    raise AssertionError(f"there are no {number} epochs")


def check_record(client: MlflowClient, name: str, began: float, ended: float) -> None:
    """Assert that the stage's one run is as if the server had always been there."""
    [run] = runs_of(client, name)
    assert run.info.status == "FINISHED" and run.info.run_name == "train_vae"
    assert began <= run.info.start_time / 1000 <= run.info.end_time / 1000 <= ended
    assert run.data.params == {"seed": "3"}
    assert (run.data.tags["stage"], run.data.tags["model_sha256"]) == ("train_vae", "abc")
    for name, factor in (("train_loss", 1), ("validation_loss", 2)):
        history = client.get_metric_history(run.info.run_id, name)
        assert [(each.step, each.value) for each in history] == [
            (epoch, factor / epoch) for epoch in range(1, EPOCHS + 1)
        ]
    assert run.data.metrics["seconds"] > 0
    [data] = run.inputs.dataset_inputs
    assert data.dataset.name == "data"
    assert data.dataset.digest == hashlib.sha256(b"pixels").hexdigest()[:36]
    files = MlflowClient(os.environ["MLFLOW_TRACKING_URI"]).list_artifacts(run.info.run_id, "out")
    assert [file.path for file in files] == ["out/model.safetensors"]
    assert not list(FOLDER.glob("*/*"))


@pytest.mark.fault("F5")
def test_the_record_is_complete_when_the_server_comes_back_during_the_stage(server, served):
    began = time.time()
    stage = start_stage("during")
    try:
        go_on(stage, 1)
        wait_for_metrics(served, "during", 2)
        server.kill()
        start = time.monotonic()
        go_on(stage, 2)
        assert [next(line for line in stage.stdout if "epoch 4" in line)]
        assert time.monotonic() - start < 10  # no epoch waits for the server
        server.start()
        go_on(stage, EPOCHS)
        said, _ = stage.communicate(timeout=60)
    finally:
        stage.kill()
    assert stage.returncode == 0
    assert "MLflow answers again: what was kept is sent" in said
    check_record(served, "during", began, time.time())


@pytest.mark.fault("F5")
def test_the_record_is_complete_when_the_server_comes_back_after_the_stage(server, served, capfd):
    began = time.time()
    stage = start_stage("after")
    try:
        go_on(stage, 1)
        wait_for_metrics(served, "after", 2)
        server.kill()
        go_on(stage, EPOCHS)
        start = time.monotonic()
        said, _ = stage.communicate(timeout=60)
        assert time.monotonic() - start < 20
    finally:
        stage.kill()
    ended = time.time()
    assert stage.returncode == 0
    assert "the next run sends it, or `diffusevae send`" in said
    assert [run.info.status for run in runs_of(served, "after")] == ["RUNNING"]

    assert not send_unsent()  # it is away still
    assert (
        "MLflow does not answer: what earlier stages could not record is still kept"
        in capfd.readouterr().err
    )
    server.start()
    with serve_recorder():  # what the next run of the flow does
        pass
    assert capfd.readouterr().err == "MLflow: sent what 1 stage could not record at the time\n"
    check_record(served, "after", began, ended)
    assert send_unsent() and capfd.readouterr().err == ""


class LossyProxy:
    """Passes requests on to a server, but of the first that creates a run drops the answer."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.dropped = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server_port)) as server:
            drop = threading.Event()
            back = threading.Thread(target=self._answer, args=(server, client, drop), daemon=True)
            back.start()
            while request := client.recv(65536):
                if b"/runs/create " in request and not self.dropped:
                    drop.set()
                server.sendall(request)

    def _answer(self, server: socket.socket, client: socket.socket, drop: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while answer := server.recv(65536):
                if drop.is_set():
                    self.dropped += 1
                    return client.shutdown(socket.SHUT_RDWR)
                client.sendall(answer)

    def close(self) -> None:
        self._listening.close()


@pytest.mark.fault("F6")
def test_a_server_that_stores_but_does_not_answer_doubles_nothing(server, served, monkeypatch):
    proxy = LossyProxy(server.port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address)
    metrics = {"do": "metrics", "values": {"loss": 0.5}, "step": 1}
    record(lines(metrics, metrics, CLOSE))
    proxy.close()
    assert proxy.dropped == 1
    [run] = runs_of(served)
    assert run.info.status == "FINISHED" and run.data.metrics["loss"] == 0.5
    assert run.data.params == {"a": "1"}


@pytest.fixture
def kept(mlflow_store, monkeypatch):
    """A function that records lines where MLflow does not answer; they are sent by the test."""
    monkeypatch.setattr("diffusevae.tracking.sender.WAIT_SECONDS", 0)
    monkeypatch.setattr("diffusevae.tracking.sender.LAST_TRY_SECONDS", 0)

    def keep(*messages: dict) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("diffusevae.tracking.runs.connect", _fail)
            before = threading.enumerate()
            record(lines(*messages))
            # A recorder ends with its process. Here its threads would go on and, MLflow there
            # again, send the journal that the test is about to send.
            for thread in set(threading.enumerate()) - set(before):
                thread.join()

    def _fail():
        raise ConnectionError("away")

    return keep


@pytest.mark.fault("F6")
def test_what_is_sent_twice_is_recorded_once(kept, mlflow_store, monkeypatch, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"pixels")
    kept(
        {"do": "metrics", "values": {"loss": 0.5, "bad": float("nan")}, "step": 1},
        {"do": "tag", "name": "t", "value": "v"},
        {"do": "dataset", "path": "data.bin", "context": "training"},
        {"do": "artifact", "path": "data.bin"},
        CLOSE,
    )
    [path] = FOLDER.glob("*/*.jsonl")
    content = path.read_bytes()
    for _ in range(2):
        path.write_bytes(content)
        assert send_unsent()
    [run] = runs_of(mlflow_store)
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 1000, 1005)
    assert len(mlflow_store.get_metric_history(run.info.run_id, "loss")) == 1
    assert len(mlflow_store.get_metric_history(run.info.run_id, "bad")) == 1
    assert len(run.inputs.dataset_inputs) == 1


def test_an_artifact_that_is_gone_or_another_by_then_is_said_and_not_stored(
    kept, mlflow_store, capfd
):
    for name in ("gone", "changed", "same"):
        Path(name).write_text(name)
    kept(*({"do": "artifact", "path": name} for name in ("gone", "changed", "same")), CLOSE)
    Path("gone").unlink()
    Path("changed").write_text("by another stage")
    capfd.readouterr()
    assert send_unsent()
    said = capfd.readouterr().err
    for name in ("gone", "changed"):
        assert f"{name} is gone or is another by now, so it is not stored" in said
    [run] = runs_of(mlflow_store)
    assert [file.path for file in mlflow_store.list_artifacts(run.info.run_id)] == ["same"]


def test_a_recorder_that_was_killed_left_a_journal_that_ends_its_runs(kept, mlflow_store):
    kept({"do": "metrics", "values": {"loss": 0.5}, "step": 1}, CLOSE)
    [path] = FOLDER.glob("*/*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])  # torn in the last line
    assert send_unsent()
    [run] = runs_of(mlflow_store)
    assert (run.info.status, run.info.end_time) == ("KILLED", 1001)


def test_what_mlflow_refuses_is_said_and_costs_nothing_else(mlflow_store, capfd):
    connect()
    record(
        lines(
            {"do": "metrics", "values": {"bad\\name?": 0.5}, "step": 1},
            {"do": "metrics", "values": {"loss": 0.5}, "step": 1},
            {"do": "tag", "name": "t", "value": "v"},
            CLOSE,
        )
    )
    assert "warning: tracking: metrics: " in capfd.readouterr().err
    [run] = runs_of(mlflow_store)
    assert run.info.status == "FINISHED" and run.data.tags["t"] == "v"


def test_what_is_kept_for_one_store_is_not_sent_to_another(kept, mlflow_store, monkeypatch):
    kept(CLOSE)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        assert send_unsent()
    assert runs_of(mlflow_store) == []
    assert send_unsent() and len(runs_of(mlflow_store)) == 1
