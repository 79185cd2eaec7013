"""Variables and files of odd content are one line that names them."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diffusevae.core.device import choose_device
from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.core.tensor_file import save_tensors
from diffusevae.latents.models.beta_vae import load_vector_vae
from diffusevae.models.classifier import load_classifier
from diffusevae.models.diffusion import load_diffusion
from diffusevae.models.latent_mixture import load_mixture
from diffusevae.models.vae import load_vae
from diffusevae.tracking.mlflow_store import require_address
from diffusevae.tracking.recorder_client import Recorder
from diffusevae.tuning import study_storage
from diffusevae.tuning.search_space import apply_best
from tasks import parent_run
from tasks.parent_run import require_mlflow
from tests.support.checkouts import ROOT
from tests.support.toy_trainings import make_optimiser


@pytest.mark.parametrize(
    ("variable", "value", "use"),
    [
        ("DIFFUSEVAE_DEVICE", "meta", choose_device),
        ("DIFFUSEVAE_DEVICE", "cpux", choose_device),
        ("DIFFUSEVAE_RECORDER", "/none", Recorder),
        ("DIFFUSEVAE_RECORDER", "x" * 200, Recorder),
        ("DIFFUSEVAE_OPTUNA_STORAGE", "postgresql://u:p@h:port/d", study_storage.connect),
    ],
)
def test_an_odd_variable_is_named(monkeypatch, variable, value, use):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=variable):
        use()


@pytest.mark.parametrize(
    "value",
    [
        "nonsense",
        "/none",
        "file:///none",
        "nonsense://x",
        "://",
        " ",
        "http://",
        "sqlite://",
        "http://127.0.0.1:99999",
        "https://u:canary@h:port",
        "http://u:canary/x@h",
        "http://[::1",
        "http://a b",
        "postgresql+psycopg://u:canary@h:port/d",
        "mysql://u:canary@h/d",
    ],
)
def test_an_odd_address_of_mlflow_is_named_and_not_shown(monkeypatch, value):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    with pytest.raises(InputError, match="^MLFLOW_TRACKING_URI: .*; write http://HOST") as caught:
        require_mlflow()
    assert "canary" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "http://h",
        "https://u:p@h:5000/x",
        "databricks",
        "sqlite:////a/b.db",
        "postgresql+psycopg://u:p@h/d",
    ],
)
def test_an_address_that_mlflow_takes_is_left_to_it(monkeypatch, value):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    require_address()


def test_a_store_of_mlflow_where_nothing_can_be_written_is_named(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/none/mlflow.db")
    with pytest.raises(EnvironmentFailure, match="^MLFLOW_TRACKING_URI: cannot write into /proc/n"):
        require_mlflow()


def test_an_mlflow_server_that_is_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(parent_run, "SECONDS_TO_ANSWER", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(
            EnvironmentFailure,
            match=f"^MLflow at {address}: does not answer; .*mend MLFLOW_TRACKING_URI",
        ):
            require_mlflow()


def import_flows(address: str) -> subprocess.CompletedProcess:
    code = "import flows, os; print('PREFECT_API_URL' in os.environ, 'PREFECT_HOME' in os.environ)"
    own = {name: text for name, text in os.environ.items() if name != "PREFECT_HOME"}
    return subprocess.run(
        [sys.executable, "-c", code],
        text=True,
        capture_output=True,
        cwd=ROOT,
        env=own | {"PREFECT_API_URL": address},
    )


@pytest.mark.parametrize("value", ["nonsense", "http://u:canary@h:99999/api", "http://[::1", " "])
def test_an_odd_address_of_prefect_is_named_and_not_shown(value):
    done = import_flows(value)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: PREFECT_API_URL: is no address of a server; write "
        "http://HOST:PORT/api, or unset it\n"
    )


def test_an_empty_address_of_prefect_is_none():
    assert import_flows("").stdout == "False True\n"


@pytest.mark.parametrize(
    "text",
    ["optimiser: 3", "optimiser: [1]", "seed: {a: 1}", "none: {}", "3: {}", "optimiser: {1: 2}"],
)
def test_a_best_yaml_of_another_shape_is_named(tmp_path: Path, text):
    path = tmp_path / "best.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="best.yaml"):
        apply_best(SimpleNamespace(seed=0, optimiser=make_optimiser()), path)


@pytest.mark.parametrize(
    "load", [load_vae, load_diffusion, load_classifier, load_mixture, load_vector_vae]
)
@pytest.mark.parametrize("config", [{}, [], 3, {"vae": 1, "diffusion": {}, "latent_shape": 7}])
@pytest.mark.fault("T5")
def test_a_checkpoint_of_another_kind_is_named(tmp_path: Path, load, config):
    save_tensors(tmp_path / "model", {"x": torch.ones(1)}, config)
    with pytest.raises(InputError, match="model"):
        load(tmp_path / "model")
