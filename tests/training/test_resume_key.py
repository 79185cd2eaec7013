"""The resume key changes with what a result depends on, and with nothing else."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diffusevae.core.device import LAUNCH_VARIABLE, PRECISION_VARIABLE
from diffusevae.core.import_closure import SOURCE
from diffusevae.training.resume_key import make_resume_key
from tests.support.toy_trainings import make_optimiser

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def data(tmp_path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(b"x")
    return path


def make_key(data: Path, device=CPU, stage="train_vae", without=None, source=SOURCE, **changes):
    params = SimpleNamespace(key="smoke", seed=0, optimiser=make_optimiser(**changes))
    return make_resume_key(stage, params, [data], device, without, source)


@pytest.mark.fault("T4", "O11")
def test_params_and_data_are_in_it(data):
    first = make_key(data)
    assert first == make_key(data) and first.startswith("smoke-")
    assert first != make_key(data, batch_size=5)
    unsized = {"optimiser": ["batch_size"]}
    assert make_key(data, without=unsized) == make_key(data, without=unsized, batch_size=5)
    data.write_bytes(b"y")
    assert first != make_key(data)


@pytest.mark.fault("T20")
def test_the_kind_of_device_and_the_precision_are_in_it(data, monkeypatch):
    monkeypatch.delenv(PRECISION_VARIABLE, raising=False)
    cpu, gpu = make_key(data), make_key(data, GPU)
    assert cpu != gpu and gpu == make_key(data, torch.device("cuda:1"))  # another of the kind
    monkeypatch.setenv(PRECISION_VARIABLE, "float32")
    assert make_key(data) == cpu and make_key(data, GPU) != gpu
    monkeypatch.setenv(PRECISION_VARIABLE, "bfloat16")
    assert make_key(data) != cpu and make_key(data, GPU) == gpu


def test_how_steps_run_is_in_it(data, monkeypatch):
    monkeypatch.delenv(LAUNCH_VARIABLE, raising=False)
    keys = [make_key(data, GPU)]
    for launched in ("plain", "captured", "compiled"):
        monkeypatch.setenv(LAUNCH_VARIABLE, launched)
        keys.append(make_key(data, GPU))
    assert len(set(keys)) == 4


def test_a_search_is_the_same_on_every_device(data, monkeypatch):
    before = make_key(data, device=None)
    monkeypatch.setenv(PRECISION_VARIABLE, "bfloat16")
    assert make_key(data, device=None) == before


@pytest.mark.parametrize(
    "module, is_used",
    [
        ("training/loop.py", True),
        ("core/randomness.py", True),
        ("stages/train_vae.py", True),
        ("stages/train_ddpm.py", False),
        ("figures/drawing.py", False),
        ("report/experiment_page.py", False),
        ("metrics/paired.py", False),
        ("latents/sprites/disentangling.py", False),
    ],
)
@pytest.mark.fault("T4")
def test_the_code_that_the_stage_imports_is_in_it_and_no_other(data, tmp_path, module, is_used):
    source = tmp_path / "src"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    before = make_key(data, source=source)
    assert before == make_key(data)
    with open(source / "diffusevae" / module, "a") as file:
        file.write("# edited\n")
    assert (make_key(data, source=source) != before) == is_used
