"""The trainings of a stage: their checkpoints outlive a failure, and go when all is written."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from diffusevae.tracking.stage_logger import StageLogger
from diffusevae.training.stage_trainings import open_training, open_trainings, write_history

PARAMS = SimpleNamespace(key="toy", seed=0)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "scratch/progress"


def train(name: str) -> None:
    with open_trainings("compress", PARAMS, [], CPU, StageLogger()) as open_one:
        for number in range(2):
            with open_one(f"{name}{number}", {"number": number}) as training:
                training.checkpointer.save(1, {"x": torch.ones(1)}, {})
        assert len(list(training.checkpointer.folder.parent.iterdir())) == 2
        if name == "broken":
            raise KeyboardInterrupt


def test_checkpoints_of_all_trainings_go_at_the_end_of_the_stage(folder):
    train("whole")
    assert not list(folder.iterdir())


def test_checkpoints_stay_where_a_stage_does_not_come_to_its_end(folder):
    with pytest.raises(KeyboardInterrupt):
        train("broken")
    names = sorted(path.name for path in folder.iterdir())
    assert [name[: len("compress-broken0-toy-")] for name in names] == [
        "compress-broken0-toy-",
        "compress-broken1-toy-",
    ]


def test_a_snapshot_is_kept_of_the_epochs_that_are_named(folder, tmp_path):
    training = open_training("train_vae", PARAMS, [], CPU, StageLogger())
    saved = []
    callbacks = training.callbacks((2,), lambda path, model: saved.append((path.name, model)))
    for epoch in (1, 2, 3):
        callbacks.on_epoch(epoch, {"epoch": epoch}, f"model {epoch}")
    assert saved == [("epoch_0002.safetensors", "model 2")]


def test_a_history_is_written_as_pandas_writes_it(tmp_path):
    history = [
        {"epoch": 1, "train_loss": 0.1 + 0.2, "validation_loss": 1e-7},
        {"epoch": 2, "train_loss": float(torch.tensor(1 / 3)), "validation_loss": 1e22},
    ]
    write_history(tmp_path / "ours.csv", history)
    pd.DataFrame(history).to_csv(tmp_path / "pandas.csv", index=False)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "pandas.csv").read_bytes()
