"""A training that is killed ends with the bytes of one that is not."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import diffusevae.training.checkpointer
from diffusevae.latents.models.beta_vae import VectorVAEConfig, fit_vector_vae
from diffusevae.models.vae import VAEConfig
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.loop import Callbacks
from diffusevae.training.vae_training import fit_vae
from tests.support.resumable import BATCHES, train
from tests.support.toy_trainings import make_optimiser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of the training without any checkpoint."""
    out = tmp_path_factory.mktemp("unbroken")
    train(None, out, Callbacks())
    return out


def assert_same_bytes(out: Path, unbroken: Path) -> None:
    for file in ("model.safetensors", "history.csv"):
        assert (out / file).read_bytes() == (unbroken / file).read_bytes(), file


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.resumable", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.fault("T1", "T11")
def test_killed_three_times_a_training_ends_with_the_same_bytes(unbroken, tmp_path):
    folder, out = tmp_path / "progress", tmp_path / "out"
    said = []
    for step in (1, 6, 10):  # when a batch is done and before its checkpoint is written
        killed = run(folder, out, step)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        said.append(killed.stdout.strip())
    assert said == ["", "", "epoch 2 batch 1 history 1"]
    assert run(folder, out).stdout.strip() == "epoch 3 batch 1 history 2"
    assert_same_bytes(out, unbroken)


class Stop(Exception):
    pass


def stop_after(step: int) -> Callbacks:
    def on_batch(epoch: int, done: int, total: int, epochs: int) -> None:
        if (epoch - 1) * BATCHES + done == step:
            raise Stop

    return Callbacks(on_batch=on_batch)


@pytest.mark.parametrize("damage", ["flipped bit", "cut short", "none of it"])
@pytest.mark.fault("T2", "T3")
def test_a_damaged_checkpoint_is_not_used_but_the_one_before_it(
    unbroken, tmp_path, monkeypatch, damage
):
    monkeypatch.setattr(diffusevae.training.checkpointer, "SECONDS_BETWEEN", 0)
    said = []
    checkpointer = Checkpointer(tmp_path / "progress", said.append)
    with pytest.raises(Stop):
        train(checkpointer, tmp_path, stop_after(7))
    older, newest = sorted(checkpointer.folder.glob("*.safetensors"))
    whole = newest.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damaged = {"flipped bit": flipped, "cut short": whole[:-9], "none of it": b""}
    newest.write_bytes(damaged[damage])
    resumed = []
    train(checkpointer, tmp_path, Callbacks(on_resume=lambda *place: resumed.append(place[1:])))
    assert said == [f"{newest}: damaged, so not used"]
    assert resumed == [(2, 1)] and older.name.startswith("0000000005-")
    assert_same_bytes(tmp_path, unbroken)


def test_without_time_for_another_checkpoint_the_end_of_an_epoch_is_one(unbroken, tmp_path):
    checkpointer = Checkpointer(tmp_path / "progress", print)
    with pytest.raises(Stop):
        train(checkpointer, tmp_path, stop_after(7))
    resumed = []
    train(checkpointer, tmp_path, Callbacks(on_resume=lambda *place: resumed.append(place[1:])))
    assert resumed == [(2, 0)]
    assert_same_bytes(tmp_path, unbroken)


def fit_a_vae(callbacks: Callbacks, checkpointer: Checkpointer | None) -> list[dict]:
    images = torch.zeros(16, 1, 16, 16, dtype=torch.uint8)
    config = VAEConfig(2, 4, (1, 1), (), 0.0, "mse", 1e-5)
    return fit_vae(
        config, make_optimiser(batch_size=4), images, images, 1, 0, callbacks, checkpointer
    )[1]


def fit_a_vector_vae(callbacks: Callbacks, checkpointer: Checkpointer | None) -> list[dict]:
    images = torch.zeros(16, 1, 16, 16, dtype=torch.uint8)
    config = VectorVAEConfig(3, (), (8,), "bce", 4.0, "mean")
    optimiser = make_optimiser(batch_size=4)
    return fit_vector_vae(config, optimiser, images, images, 1, 0, callbacks, checkpointer)[1]


@pytest.mark.parametrize("train_it", [fit_a_vae, fit_a_vector_vae])
def test_a_training_that_goes_on_within_its_first_epoch_keeps_the_columns(
    tmp_path, monkeypatch, train_it
):
    monkeypatch.setattr(diffusevae.training.checkpointer, "SECONDS_BETWEEN", 0)
    checkpointer = Checkpointer(tmp_path, print)
    with pytest.raises(Stop):
        train_it(stop_after(2), checkpointer)
    resumed, unbroken = train_it(Callbacks(), checkpointer), train_it(Callbacks(), None)
    assert [list(row.items()) for row in resumed] == [list(row.items()) for row in unbroken]


def test_a_finished_training_leaves_its_files_and_no_checkpoint(tmp_path):
    root = tmp_path / "progress"
    checkpointer = Checkpointer(root / "train_vae-a_b-0123", print)
    other, another = (
        Checkpointer(root / name, print) for name in ("train_vae-a_b-4567", "train_vae-a-0123")
    )
    for each in (checkpointer, other, another):
        each.save(1, {"x": torch.ones(1)}, {})
    (checkpointer.kept / "snapshots").mkdir(parents=True)
    (checkpointer.kept / "snapshots/epoch_0001").write_text("kept")
    checkpointer.copy_kept(tmp_path / "out")
    checkpointer.clear()
    assert (tmp_path / "out/snapshots/epoch_0001").read_text() == "kept"
    assert (
        checkpointer.load() is None and other.load() is None
    )  # the latter was of other parameters
    assert another.load() is not None  # of another experiment
