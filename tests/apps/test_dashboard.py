"""`diffusevae dashboard`: Optuna's pages of a checkout's searches, for who can log in."""

import base64
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna_dashboard._app import create_app

from diffusevae.core.disk import make_private
from diffusevae.tuning.study_storage import connect
from flows.prefect_server import free_port
from tests.support.checkouts import ROOT, mark_checkout, wait_for
from tests.support.routes import find_answered, list_bottle, require_loopback
from tests.support.services import Service, start


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one search, "searched", of two trials."""
    folder = tmp_path_factory.mktemp("checkout")
    mark_checkout(folder)
    make_private(folder / "scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = optuna.create_study(storage=connect(), study_name="searched")
        study.optimize(lambda trial: trial.suggest_float("rate", 0, 1), n_trials=2)
    return folder


@pytest.fixture(scope="module")
def dashboard(folder: Path) -> Iterator[Service]:
    port = free_port()
    command = (sys.executable, "-m", "diffusevae", "dashboard", "--port", str(port))
    with start(folder, "/", *command, port=port, PYTHONPATH=str(ROOT)) as server:
        wait_for(lambda: ask(f"{server.address}/") == 401, "the login")
        yield server


def ask(address: str) -> int | None:
    """Return the status of an answer, none where nobody listens yet."""
    try:
        with urllib.request.urlopen(address, timeout=60):
            return 200
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def log_in(folder: Path) -> dict[str, str]:
    """Return the header of the checkout's login."""
    known = json.loads((folder / "mlflow/login.json").read_text())
    token = base64.b64encode(f"{known['user']}:{known['password']}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


@pytest.mark.fault("S2")
def test_a_stranger_is_answered_nowhere(dashboard):
    routes = {*list_bottle(create_app(InMemoryStorage()))}
    assert ("DELETE", "/api/studies/1") in routes
    assert find_answered(dashboard.address, routes) == {}
    require_loopback(dashboard.address)


def test_who_logs_in_sees_the_searches_of_the_checkout(dashboard, folder):
    request = urllib.request.Request(f"{dashboard.address}/api/studies", headers=log_in(folder))
    with urllib.request.urlopen(request, timeout=60) as answer:
        [study] = json.load(answer)["study_summaries"]
    assert study["study_name"] == "searched"


def test_its_lines_say_where_it_is_and_nothing_else(dashboard):
    said = dashboard.log.read_text().splitlines()
    assert [line.split()[0] for line in said] == ["Optuna", "user", "password", "stop"]
