"""Servers that do not answer, or not with this login: one line and exit code 3, at once."""

import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from command.line import main
from flows import compare, start
from flows.prefect_server import server_at_hand
from tasks import recording
from tasks.terminal import run_on_terminal
from tests.support.checkouts import CANARY, LOGIN
from tests.support.loopback import serve, status

NOWHERE = "http://127.0.0.1:9"
COMMANDS = {
    "run": ["smoke"],
    "compare": ["smoke"],
    "rollback": ["smoke"],
    "bootstrap": [],
    "worker": ["cpu"],
}
OF_MLFLOW = ("run", "compare", "rollback")


def fail(command: str, capfd) -> str:
    """Return the one line that a command ends with; it has the exit code 3."""
    began = time.monotonic()
    assert main([command, *COMMANDS[command]], Path.cwd()) == 3
    assert time.monotonic() - began < 60
    [line] = capfd.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("command", [name for name in COMMANDS if "rollback" not in name])
def test_prefect_s_server_is_away(command, capfd):
    with temporary_settings({PREFECT_API_URL: f"{NOWHERE}/api"}):
        line = fail(command, capfd)
    assert line.startswith("error: Prefect's server: ") and "start it, or unset" in line


@contextmanager
def prepare_only(prepare):
    prepare()
    yield


@pytest.fixture
def no_prefect(monkeypatch):
    """No Prefect server is started, for the commands do not come to use one."""
    for module in (start, compare):
        monkeypatch.setattr(module, "server_at_hand", prepare_only)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.mark.parametrize("command", OF_MLFLOW)
def test_mlflow_is_away(command, no_prefect, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    assert fail(command, capfd).startswith(f"error: MLflow at {NOWHERE}: does not answer; see")


@pytest.mark.parametrize("command", OF_MLFLOW)
def test_mlflow_wants_another_password(command, no_prefect, monkeypatch, capfd):
    with serve({"/api/2.0/mlflow/experiments/search": status(401)}) as (address, asked):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        line = fail(command, capfd)
    assert line.startswith(f"error: MLflow at {address}: the login is refused; set MLFLOW_TR")


def test_what_is_kept_stays_where_mlflow_is_away(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    assert run_on_terminal(recording.send) == 0
    assert capfd.readouterr().out == "nothing is left to send\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_no_address_shows_its_password(command, monkeypatch, capfd):
    """Of the servers that are away, in whatever a command says."""
    address = f"http://admin:{CANARY}@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    if command in OF_MLFLOW:
        for module in (start, compare):
            monkeypatch.setattr(module, "server_at_hand", prepare_only)
    with temporary_settings({PREFECT_API_URL: f"{address}/api"}):
        line = fail(command, capfd)
    assert "http://***@127.0.0.1:9" in line or "Prefect's server: " in line
    assert CANARY not in line


def test_an_address_with_a_login_is_one_that_answers(prefect_server, monkeypatch):
    login = LOGIN.replace("_", "%5F")
    with temporary_settings({PREFECT_API_URL: prefect_server.replace("//", f"//{login}@")}):
        with server_at_hand(lambda: None):
            pass
