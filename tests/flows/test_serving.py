"""The champion behind `diffusevae serve`, asked as the curl line of docs/serving.md asks it."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mlflow.models import Model
from mlflow.pyfunc import scoring_server
from safetensors.numpy import load_file

from flows.prefect_server import free_port
from flows.serve import OPEN
from tests.support.checkouts import ROOT
from tests.support.routes import find_answered, list_starlette, require_loopback


@pytest.fixture(scope="module")
def address(smoke_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the model that the pipeline made champion."""
    port = free_port()
    log = open(tmp_path_factory.mktemp("serving") / "log", "w+")
    server = subprocess.Popen(
        [sys.executable, "-m", "diffusevae", "serve", "smoke", "--port", str(port)],
        cwd=smoke_checkout,
        env=os.environ | {"PYTHONPATH": str(smoke_checkout / "src")},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{address}/ping", timeout=5):
                    break
            except OSError:
                assert time.monotonic() < deadline and server.poll() is None, Path(
                    log.name
                ).read_text()[-3000:]
                time.sleep(0.3)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
        log.close()


@pytest.fixture(scope="module")
def login(smoke_checkout: Path, address: str) -> str:
    """The header of who may ask, with the login that curl is given."""
    [(user, password)] = re.findall(
        r"^machine 127.0.0.1 login (\S+) password (\S+)$",
        (smoke_checkout / "mlflow/netrc").read_text(),
        re.M,
    )
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.fixture
def ask(address: str, login: str):
    def ask(body: dict) -> np.ndarray:
        headers = {"Content-Type": "application/json", "Authorization": login}
        content = json.dumps(body).encode()
        request = urllib.request.Request(f"{address}/invocations", content, headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return np.array(json.load(answer)["predictions"], np.float32)

    return ask


def test_a_stranger_gets_no_answer_but_that_it_is_healthy(address, smoke_checkout):
    app = scoring_server.init(SimpleNamespace(metadata=Model()))
    routes = {*list_starlette(app.routes)}
    assert {("POST", "/invocations"), ("GET", "/ping"), ("GET", "/docs")} <= routes
    healthy = {("GET", path): 200 for path in OPEN}
    assert find_answered(address, routes) == healthy
    assert find_answered(address, routes, {"Authorization": "Basic eDp5"}) == healthy
    require_loopback(address)
    assert (smoke_checkout / "mlflow/netrc").stat().st_mode & 0o777 == 0o600


def test_images_are_refined_as_the_stage_refined_them(ask, smoke_checkout):
    pairs = load_file(smoke_checkout / "artifacts/smoke/sample/pairs.safetensors")
    refined = ask({"inputs": pairs["real"].tolist()})
    assert np.abs(refined - pairs["diffusevae"]).max() < 1e-3


def test_as_many_new_images_come_as_are_asked_for_and_the_seed_decides_which(ask):
    blank = np.zeros((1, 1, 32, 32)).tolist()
    made = [ask({"inputs": blank, "params": {"num_images": 3, "seed": seed}}) for seed in (1, 1, 2)]
    assert made[0].shape == (3, 1, 32, 32) and 0 <= made[0].min() < made[0].max() <= 1
    assert np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


def test_the_docs_line_works(address, smoke_checkout):
    text = (ROOT / "docs/serving.md").read_text()
    [command] = re.findall(r"^(python -c .*\|\s*\\\n.*curl.*)$", text, re.M)
    command = command.replace("http://127.0.0.1:5001", address)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=smoke_checkout,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert np.array(json.loads(done.stdout)["predictions"]).shape == (4, 1, 32, 32), done.stderr


def test_images_out_of_range_are_refused_with_the_reason(ask):
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask({"inputs": np.full((1, 1, 32, 32), 2.0).tolist()})
    assert caught.value.code == 400
    assert json.load(caught.value) == {"error": "images must hold numbers in [0, 1]"}
