"""The MLflow store in ./mlflow: moved with its folder, and of other versions of MLflow."""

import os
import re
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from diffusevae.core.proxies import keep_loopback_direct
from diffusevae.tracking.mlflow_store import connect, experiment_id
from tests.support.checkouts import ROOT, mark_checkout


@pytest.fixture
def store(mlflow_store: MlflowClient, tmp_path, monkeypatch) -> Path:
    """./mlflow, in which a run has a file, and a registered model's version is in it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    client = connect()
    run = client.create_run(experiment_id(client, "with space"))
    Path("note.txt").write_text("kept")
    client.log_artifact(run.info.run_id, "note.txt")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return tmp_path


def read_note() -> str:
    client = connect()
    [run] = client.search_runs([client.get_experiment_by_name("with space").experiment_id])
    return Path(client.download_artifacts(run.info.run_id, "note.txt")).read_text()


@pytest.mark.parametrize("name", ["moved", "a folder with spaces", "grün"])
def test_a_store_goes_where_its_folder_goes(store, tmp_path, monkeypatch, name):
    assert read_note() == "kept"
    (tmp_path / name).mkdir()
    (tmp_path / "mlflow").rename(tmp_path / name / "mlflow")
    monkeypatch.chdir(tmp_path / name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert read_note() == "kept"
    client = connect()
    client.create_run(client.get_experiment_by_name("with space").experiment_id)
    assert not (tmp_path / "mlflow").exists()  # nothing is written to the old place


def set_revision(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def downgrade(path: Path) -> None:
    """Take the last change of MLflow's schema back, as its own migration does."""
    program = (
        "import sys; from alembic import command; "
        "from mlflow.store.db.utils import _get_alembic_config; "
        "command.downgrade(_get_alembic_config(sys.argv[1]), '-1')"
    )
    subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{path}"], check=True, capture_output=True
    )


def open_anew() -> str:
    """Open the store in a process that has not looked at it yet; return what is said."""
    program = (
        "from diffusevae.tracking.mlflow_store import connect; "
        "from diffusevae.core.command import run_command; "
        "run_command(lambda: print('opened' if connect() else ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout.strip().splitlines()[-1]


def read_revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT version_num FROM alembic_version").fetchone()[0]


def test_a_store_of_an_older_mlflow_is_brought_up_to_date_and_kept_beside(store):
    path = store / "mlflow/mlflow.db"
    newest = read_revision(path)
    downgrade(path)
    older = read_revision(path)
    assert older != newest
    assert open_anew() == "opened" and read_revision(path) == newest
    assert read_note() == "kept"
    assert read_revision(store / f"mlflow/mlflow.db.before-{older}") == older


def test_a_store_of_a_newer_mlflow_is_one_line(store):
    path = store / "mlflow/mlflow.db"
    set_revision(path, "ffffffffffff")
    before = path.read_bytes()
    assert re.match(
        "error: .*mlflow.db: is of a newer MLflow .*ffffffffffff.* use the code that "
        "made it, or move ./mlflow away",
        open_anew(),
    )
    assert path.read_bytes() == before and not list(path.parent.glob("mlflow.db.*"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "127.0.0.1,localhost,::1"),
        ("intranet, localhost", "intranet,localhost,127.0.0.1,::1"),
        ("*", "*"),
    ],
)
def test_the_loopback_needs_no_proxy_and_what_the_user_excepts_stays(monkeypatch, given, expected):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, given) if given else monkeypatch.delenv(name, raising=False)
    keep_loopback_direct()
    keep_loopback_direct()
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == expected


def test_mlflow_on_a_taken_port_is_one_line_and_no_login_is_printed(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        mark_checkout(tmp_path)
        done = subprocess.run(
            [sys.executable, "-m", "diffusevae", "mlflow", "--port", str(port)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            text=True,
            capture_output=True,
        )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"error: port {port}: Address already in use; name another: "
        f"`diffusevae mlflow --port {port + 1}`\n"
    )
