"""Bad requests to a served model: one clear line, no trace, no path."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow.pyfunc import load_model, scoring_server
from starlette.testclient import TestClient

from diffusevae.core.errors import InputError
from flows import serve
from flows.prefect_server import free_port
from tests.support import toy_latents
from tests.support.checkouts import ROOT, mark_checkout
from tests.support.toy_registry import register_toy

JSON = {"Content-Type": "application/json"}
OWN = np.full((2, 1, 16, 16), 0.5).tolist()
SHAPE = "does not match expected shape"
RANGE = r"^images must hold numbers in \[0, 1\]$"


def image(*shape: int, value: float = 0.0) -> dict:
    return {"inputs": np.full(shape, value).tolist()}


def number(**params) -> dict:
    return {"inputs": OWN, "params": params}


IMAGES = [
    (image(2, 1, 8, 8), SHAPE),
    (image(16, 16), SHAPE),
    (image(0, 1, 16, 16), "numpy array input"),
    (image(1, 1, 16, 16, value=np.nan), RANGE),
    (image(1, 1, 16, 16, value=np.inf), RANGE),
    (image(1, 1, 16, 16, value=2.0), RANGE),
    (image(1, 1, 16, 16, value=-0.1), RANGE),
    ({"inputs": [[[[0.0], [0.0, 0.0]]]]}, "inhomogeneous"),
    ({"inputs": [[["a"]]]}, "string"),
    ({"inputs": None}, "expects a single n-dimensional array"),
    ({}, "exactly one of the input"),
    ({"inputs": OWN, "instances": OWN}, "exactly one of the input"),
    ([1], "JSON dictionary"),
    ({"dataframe_split": {"columns": ["a"], "data": [[1]]}}, "column"),
    (number(num_images=-1), "^num_images -1: allowed 0 to 8192$"),
    (number(num_images=8193), "^num_images 8193: allowed 0 to 8192$"),
    (number(num_images=10**30), "num_images 10+: allowed"),
    (number(num_images=1, seed=-1), "^seed -1: allowed 0 to 9223372036854775806$"),
    (number(num_images=1, seed=2**63), "^seed 9223372036854775808: allowed"),
    (number(num_images=None), "num_images None: allowed"),
    (number(num_images=[1]), "scalar"),
    (number(num_images="3"), "Can not safely convert"),
    (number(seed=2.5), "safely convert"),
    (number(seed=True), "safely convert"),
    ({"inputs": OWN, "params": [1]}, "dictionary"),
]
BODIES = [
    (b"{", JSON, 400, "JSONDecodeError"),
    (b"\xff" * 999, JSON, 400, "UnicodeDecodeError"),
    (b'{"inputs":' + b"[" * 100_000, JSON, 400, "cannot be read"),
    (b'{"inputs":' + b"1" * 5000 + b"}", JSON, 400, "cannot be read"),
    (b" " * (serve.MOST_BYTES + 1), JSON, 413, "send fewer images at a time"),
    (b"a,b\n1,2", {"Content-Type": "text/csv"}, 415, "^send application/json$"),
    (b"PAR1", {"Content-Type": "application/vnd.apache.parquet"}, 415, "^send application/json$"),
    (b"{}", {}, 415, "^send application/json$"),
    (b"{}", {"Content-Type": "application/json; charset=latin-1"}, 415, "UTF-8"),
]


def open_client(app) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:5001", raise_server_exceptions=False)


def check_line(answer, status: int, said: str) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    line = answer.json()["error"]
    assert 0 < len(line) <= serve.LONGEST and "\n" not in line
    assert not [part for part in ("Traceback", 'File "', "site-packages", "/work") if part in line]
    assert re.search(said, line), line


def test_a_bad_request_is_answered_with_one_line(store):
    register_toy()
    client = open_client(serve.make_app("models:/diffusevae-toy/1", 5001))
    for body, said in IMAGES:
        check_line(client.post("/invocations", content=json.dumps(body), headers=JSON), 400, said)
    for content, headers, status, said in BODIES:
        check_line(client.post("/invocations", content=content, headers=headers), status, said)
    whole = (b" " * 2**20 for _ in range(serve.MOST_BYTES // 2**20 + 1))  # of a length not told
    check_line(client.post("/invocations", content=whole, headers=JSON), 413, "fewer images")
    check_line(client.get("/docs"), 404, "^there are /invocations, /ping, /health, /version$")
    good = client.post("/invocations", content=json.dumps(number(num_images=3)), headers=JSON)
    assert np.array(good.json()["predictions"]).shape == (3, 1, 16, 16)
    assert client.get("/ping").status_code == 200
    foreign = {"Origin": "http://elsewhere.example"} | JSON
    assert client.post("/invocations", content=b"{}", headers=foreign).status_code == 403
    # MLflow's own server adds the data to the reason, but no trace.
    plain = open_client(scoring_server.init(load_model("models:/diffusevae-toy/1")))
    for body, _ in IMAGES:
        answer = plain.post("/invocations", content=json.dumps(body), headers=JSON)
        assert answer.status_code == 400 and "stack_trace" not in answer.json()
    with pytest.raises(
        InputError, match="^models:/diffusevae-toy/9: .*; `diffusevae serve --help`"
    ):
        serve.make_app("models:/diffusevae-toy/9", 5001)


def test_a_model_that_does_not_fit_together_is_one_line(store):
    register_toy()
    [weights] = Path("mlflow/artifacts").rglob("vae.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    mark_checkout(Path())
    command = [
        sys.executable,
        "-m",
        "diffusevae",
        "serve",
        "models:/diffusevae-toy/1",
        "--port",
        str(free_port()),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode in (2, 3) and "Traceback" not in done.stderr, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: models:/diffusevae-toy/1: ")


@pytest.mark.parametrize("value, said", [(np.nan, "numbers in"), (1e30, r"in \[-100, 100\]")])
def test_codes_that_are_none_are_answered_with_one_line(mlflow_store, tmp_path, value, said):
    toy_latents.write_checkout(tmp_path)
    version = toy_latents.register_toy()
    client = open_client(serve.make_app(f"models:/{version.name}/1", 5001))
    for body, reason in (
        (image(1, 4, value=value), said),
        (image(1, 3), SHAPE),
        (image(501, 4), "with B from 1 to 500"),
        ({"inputs": [[0.0] * 4], "params": {"refine": "yes"}}, "safely convert"),
    ):
        check_line(client.post("/invocations", content=json.dumps(body), headers=JSON), 400, reason)
