"""Stages killed by the system, at the command line, end with the bytes of an unbroken run."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import load_config, sha256_of
from diffusevae.models.vae import VAE, VAEConfig, save_vae
from diffusevae.stages import train_diffusevae
from diffusevae.tracking.stage_logger import StageLogger
from diffusevae.training.diffusion_training import TrainDiffusionConfig
from tests.support.resumable import CONFIG, OPTIMISER, UNET

ROOT = Path(__file__).parents[2]


def start(checkout: Path, stage: str, *inputs: str) -> subprocess.Popen:
    options = [word for name in inputs for word in (f"--{Path(name).stem}", name)]
    return subprocess.Popen(
        [sys.executable, "-m", "diffusevae.stages", stage, "smoke", *options, "--out", "out"],
        cwd=checkout,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"},
    )


def run_with_kill(checkout: Path, line: str, stage: str, *inputs: str) -> str:
    """Kill the stage when it has said a line, run it again, and return what that one said."""
    first = start(checkout, stage, *inputs)
    assert next((said for said in first.stdout if line in said), None), f"never said {line!r}"
    first.kill()
    assert first.wait() == -signal.SIGKILL
    return run(checkout, stage, *inputs)


def run(checkout: Path, stage: str, *inputs: str) -> str:
    again = start(checkout, stage, *inputs)
    said, _ = again.communicate()
    assert again.returncode == 0, said
    return said


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.fault("T1")
def test_a_killed_training_keeps_its_snapshots_and_ends_the_same(checkout):
    inputs = ("train_vae", "train", "validation", "best.yaml")
    said = run_with_kill(checkout, "epoch 2 ", *inputs)
    assert "going on after batch" in said and "epoch 1 " not in said
    resumed = read_all(checkout / "out")
    assert "snapshots/epoch_0002.safetensors" in resumed
    assert run(checkout, *inputs).count("epoch ") == 3  # finished, so nothing is left to go on from
    assert read_all(checkout / "out") == resumed


@pytest.mark.fault("O12")
def test_a_killed_search_does_only_the_trials_it_lacks_and_ends_the_same(checkout):
    inputs = ("tune_vae", "train", "validation")
    said = run_with_kill(checkout, "trial 1 ", *inputs)
    assert "trial 0" not in said and "trial 2" in said
    resumed = read_all(checkout / "out")
    assert run(checkout, *inputs).count("trial ") == 3
    assert read_all(checkout / "out") == resumed


@pytest.fixture
def diffusevae_inputs(checkout, monkeypatch) -> dict:
    """What the stage train_diffusevae takes; the VAE is not trained."""
    monkeypatch.chdir(checkout)
    torch.manual_seed(0)
    save_vae(checkout / "vae", VAE(VAEConfig(2, 4, (1, 1), (), 0.0, "mse", 1e-5), (1, 16, 16)))
    params = SimpleNamespace(
        key="toy",
        seed=0,
        diffusion=CONFIG,
        unet=UNET,
        diffusion_optimiser=OPTIMISER,
        train_diffusevae=TrainDiffusionConfig(epochs=1, snapshot_epochs=(1,), p_uncond=0.0),
    )
    paths = {name: checkout / name for name in ("train", "validation", "vae", "out")}
    return {"params": params, **paths}


def test_diffusevae_leaves_its_vae_and_names_it_in_every_snapshot(diffusevae_inputs):
    before = sha256_of(diffusevae_inputs["vae"])
    train_diffusevae.run(**diffusevae_inputs, log=StageLogger())
    assert sha256_of(diffusevae_inputs["vae"]) == before
    for name in ("model.safetensors", "snapshots/epoch_0001.safetensors"):
        assert load_config(diffusevae_inputs["out"] / name)["vae_sha256"] == before


@pytest.mark.fault("T19")
def test_a_vae_that_changes_meanwhile_is_noticed(diffusevae_inputs):
    class Meddler(StageLogger):
        def epoch(self, row):
            with open(diffusevae_inputs["vae"], "ab") as file:
                file.write(b"x")

    with pytest.raises(InputError, match="changed while DiffuseVAE was trained on it"):
        train_diffusevae.run(**diffusevae_inputs, log=Meddler())
    assert not diffusevae_inputs["out"].exists()
