"""Passwords stay where the user put them: what is said, logged or stored shows none."""

import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from diffusevae.core.errors import EnvironmentFailure, InputError, hide_passwords
from diffusevae.tracking.mlflow_store import connect, experiment_id
from diffusevae.tracking.recorder_client import Recorder
from diffusevae.tracking.stage_logger import StageLogger, track_stage
from diffusevae.tuning import study_storage
from tasks.dvc import process
from tasks.parent_run import open_parent_run
from tasks.registry.registration import Registered
from tasks.terminal import show_outcome
from tests.support.checkouts import CANARY, ROOT
from tests.support.servers import serve_mlflow

# An environment in which a flow has its Prefect data in ./scratch.
OWN_PREFECT = {name: value for name, value in os.environ.items() if "PREFECT_" not in name}
OWN_PREFECT |= {"PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    "text, shown",
    [
        (f"at http://admin:{CANARY}@host:5000/x: away", "at http://***@host:5000/x: away"),
        (f"postgresql+psycopg://u:a/{CANARY}@b@host/db", "postgresql+psycopg://***@host/db"),
        (f"fatal: https://{CANARY}@github.com/a/b.git", "fatal: https://***@github.com/a/b.git"),
        (f"('s3://k:{CANARY}@h', 'http://:{CANARY}@h')", "('s3://***@h', 'http://***@h')"),
        (
            f"postgresql://host/db?user=u&password={CANARY}",
            "postgresql://host/db?user=u&password=***",
        ),
        ("http://127.0.0.1:5000/#/models/a@champion", "http://127.0.0.1:5000/#/models/a@champion"),
        ("train_vae@smoke: see http://host/a and models:/m@champion",) * 2,
    ],
)
def test_addresses_are_shown_without_their_logins(text, shown):
    assert hide_passwords(text) == shown


@pytest.mark.fault("S4")
def test_the_environment_s_passwords_are_hidden_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"admin:{CANARY}1")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", f"{CANARY}2")
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{CANARY}%403@proxy:3128")
    monkeypatch.setenv("DIFFUSEVAE_OPTUNA_STORAGE", "postgresql://postgres:postgres@host/optuna")
    for secret in (f"{CANARY}1", f"{CANARY}2", f"{CANARY}%403", f"{CANARY}@3"):
        assert hide_passwords(f"refused '{secret}'.") == "refused '***'."
    assert hide_passwords("postgresql: an admin's") == "postgresql: an admin's"


@pytest.mark.parametrize("kind", [InputError, EnvironmentFailure])
def test_a_failure_never_holds_a_password(kind):
    failure = kind(f"http://a:{CANARY}@h: away")
    assert str(pickle.loads(pickle.dumps(failure))) == "http://***@h: away"
    assert CANARY not in repr(failure)


def test_log_lines_hide_passwords_too(caplog):
    address = f"http://a:{CANARY}@h"
    try:
        raise ValueError(address)
    except ValueError:
        logging.getLogger("tests").exception("at %s", address)
    assert "at http://***@h" in caplog.text and "ValueError: http://***@h" in caplog.text
    assert CANARY not in caplog.text


def test_an_unexplained_failure_s_traceback_hides_passwords():
    code = (
        "import flows, threading\n"
        f"def fail(): raise ValueError('http://a:{CANARY[:4]}' + '{CANARY[4:]}@h')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join(); fail()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.count("ValueError: http://***@h") == 2
    assert CANARY not in done.stderr


@pytest.mark.fault("S9")
def test_stages_and_flows_keep_their_files_from_other_users(tmp_path):
    """Whatever the umask; data, artifacts and reports are to be shared, and follow it."""
    folders = [tmp_path / name for name in ("scratch", "mlflow")]
    for folder in folders:
        folder.mkdir()
        folder.chmod(0o755)
    commands = (["-m", "diffusevae.stages", "download", "x", "--out", "x"], ["-c", "import flows"])
    for command, closed in zip(commands, (folders, folders[:1]), strict=True):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            text=True,
            umask=0,
            capture_output=True,
            timeout=120,
            env=OWN_PREFECT,
        )
        assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700, 0o700]
        for folder in closed:
            assert done.stderr.count(f"{folder.name}: was open to other users") == 1
        folders[0].chmod(0o755)


def test_a_database_that_is_away_is_named_without_its_password(monkeypatch):
    for address in (
        f"postgresql://u:{CANARY}@127.0.0.1:9/optuna",
        f"postgresql://127.0.0.1:9/optuna?user=u&password={CANARY}",
    ):
        monkeypatch.setenv("DIFFUSEVAE_OPTUNA_STORAGE", address)
        with pytest.raises(EnvironmentFailure, match="does not answer") as failure:
            study_storage.connect()
        assert CANARY not in str(failure.value)


def test_what_a_stage_says_hides_passwords(capsys):
    StageLogger().message(f"from http://user:{CANARY}@127.0.0.1:9: does not answer")
    assert capsys.readouterr().out == "from http://***@127.0.0.1:9: does not answer\n"


def test_a_remote_that_is_away_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = f"http://user:{CANARY}@127.0.0.1:9/store"
    for command in (["init", "--no-scm", "-q"], ["remote", "add", "-q", "-d", "store", address]):
        subprocess.run([sys.executable, "-m", "dvc", *command], check=True, timeout=60)
    Path("dvc.yaml").write_text("stages:\n  one:\n    cmd: echo 1 > one\n    outs: [one]\n")
    said: list[str] = []
    process.reproduce("one", said.append, {})
    with pytest.raises(EnvironmentFailure) as failure:
        process.push("one")
    assert CANARY not in str(failure.value) and CANARY not in "".join(said)
    assert CANARY not in Path("dvc.lock").read_text()


def test_the_end_of_a_run_names_the_tracking_server_without_its_password(monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://admin:{CANARY}@host:5000")
    show_outcome(Path("report.html"), Registered("diffusevae-x", "1", "m-1"))
    assert "MLflow  https://***@host:5000\n" in capsys.readouterr().out


def test_mlflow_keeps_no_password_of_its_address(tmp_path, monkeypatch, capfd):
    """A run, its params, tags and artifacts, recorded through an address with a login."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow").mkdir()
    with serve_mlflow(tmp_path) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("//", f"//admin:{CANARY}@"))
        with Recorder() as recorder, track_stage("train_vae", "toy", {"seed": 3}, recorder) as log:
            log.epoch({"epoch": 1, "train_loss": 0.5})
        with open_parent_run("toy", "toy_data") as parent:
            parent.record_stages([])
        assert len(connect().search_runs([experiment_id(connect(), "toy")])) == 2
    assert CANARY not in "".join(capfd.readouterr())
    holders = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and CANARY.encode() in path.read_bytes()
    ]
    assert holders == []
