"""`make mlflow`: its server asks everyone for the login, and takes no more than it can hold."""

import base64
import http.client
import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.prefect_server import free_port
from tests.support.checkouts import ROOT, mark_checkout
from tests.support.routes import find_answered, list_mlflow, require_loopback
from tests.support.services import start

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Served:
    """The server of a checkout with the experiment "served", and the header of its login."""

    address: str
    folder: Path
    login: dict[str, str]


@pytest.fixture(scope="module")
def served(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("checkout")
    mark_checkout(folder)
    (folder / "mlflow").mkdir()
    shutil.copy(empty_store, folder / "mlflow/mlflow.db")
    MlflowClient(f"sqlite:///{folder / 'mlflow/mlflow.db'}").create_experiment("served")
    port = free_port()
    command = (sys.executable, "-m", "diffusevae", "mlflow", "--port", str(port))
    with start(folder, "/health", *command, port=port, PYTHONPATH=str(ROOT)) as server:
        server.wait()
        known = json.loads((folder / "mlflow/login.json").read_text())
        token = base64.b64encode(f"{known['user']}:{known['password']}".encode()).decode()
        yield Served(server.address, folder, {"Authorization": f"Basic {token}"})


def ask(address: str, headers: dict[str, str], body: bytes | None = None) -> int:
    try:
        request = urllib.request.Request(address, body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def announce(address: str, path: str, headers: dict[str, str]) -> int:
    """Return the status of an answer to a POST whose body never comes."""
    connection = http.client.HTTPConnection(address.partition("//")[2], timeout=60)
    connection.putrequest("POST", path)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_stranger_gets_no_answer_but_that_it_is_healthy(served: Served):
    routes = list_mlflow(
        served.folder,
        MLFLOW_AUTH_CONFIG_PATH=str(served.folder / "mlflow/auth.ini"),
        MLFLOW_AUTH_ADMIN_PASSWORD="of no account",
        MLFLOW_FLASK_SERVER_SECRET_KEY="none",
    )
    assert len(routes) > 1000 and ("POST", "/api/2.0/mlflow/users/create") in routes
    assert {path for _, path in find_answered(served.address, routes)} == {"/health"}
    require_loopback(served.address)
    assert (served.folder / "mlflow/login.json").stat().st_mode & 0o777 == 0o600


def test_who_logs_in_sees_the_runs_and_no_page_can_do_so_for_him(served: Served):
    path = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=served"
    wrong = {"Authorization": f"Basic {base64.b64encode(b'admin:wrong').decode()}"}
    assert ask(served.address + path, served.login) == 200
    assert ask(served.address + path, wrong) == 401
    made = f"{served.address}/api/2.0/mlflow/experiments/create"
    port = served.address.rpartition(":")[2]
    for headers in (
        {"Origin": "http://elsewhere.example"},
        {"Host": "elsewhere.example"},
        {"Host": f"elsewhere.example:{port}"},
    ):
        assert ask(made, served.login | JSON | headers, b'{"name": "forged"}') == 403


def test_a_body_has_a_size_that_is_told_and_that_memory_can_hold(served: Served):
    made = "/api/2.0/mlflow/experiments/create"
    for headers, status in (
        ({"Content-Length": str(64 * 2**20 + 1)}, 413),
        ({"Transfer-Encoding": "chunked"}, 411),
    ):
        assert announce(served.address, made, served.login | JSON | headers) == status
    body = json.dumps({"name": "made", "tags": [{"key": "long", "value": "x" * 4000}]}).encode()
    assert ask(served.address + made, served.login | JSON, body) == 200


def test_a_file_of_any_size_is_taken_as_it_comes(served: Served):
    """By who logs in; it goes to the disk."""
    path = f"{served.address}/api/2.0/mlflow-artifacts/artifacts/0/big.bin"
    request = urllib.request.Request(
        path, (bytes(2**20) for _ in range(65)), served.login, method="PUT"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
    [file] = (served.folder / "mlflow/artifacts").rglob("big.bin")
    assert file.stat().st_size == 65 * 2**20
