"""Every kind of first stage learns, and a training of it that was stopped ends as if it was not."""

import pytest
import torch

import diffusevae.training.checkpointer
from diffusevae.core.device import LAUNCH_VARIABLE
from diffusevae.core.errors import InputError
from diffusevae.models.vae import save_vae
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.distributed import Group
from diffusevae.training.loop import Callbacks
from diffusevae.training.vae_training import fit_vae
from tests.support.toy_models import make_vae
from tests.support.toy_trainings import make_optimiser


def rows(count: int) -> torch.Tensor:
    """Return images with one white row, uint8 count x 1 x 16 x 16."""
    images = torch.zeros(count, 1, 16, 16, dtype=torch.uint8)
    images[torch.arange(count), 0, torch.arange(count) % 16] = 255
    return images


def train(kind: str, epochs: int, callbacks=None, checkpointer=None, group=None, device="cpu"):
    config = make_vae(kind=kind, codebook_size=32, kl_weight=1e-4).config
    optimiser = make_optimiser(learning_rate=5e-3, batch_size=16, ema_decay=0.5)
    others = [callbacks or Callbacks(), checkpointer] + ([group] if group else [])
    return fit_vae(config, optimiser, rows(64).to(device), rows(16).to(device), epochs, 0, *others)


@pytest.mark.parametrize("kind", ["vq", "rae"])
def test_it_learns(kind):
    vae, history = train(kind, 6)
    assert history[-1]["validation_reconstruction"] < 0.2 * 0.25  # it starts at 1/4
    if kind == "vq":
        assert 1 < history[-1]["validation_perplexity"] <= 32
        assert vae.codebook.counts.min() > 0


def test_one_that_is_told_the_class_needs_no_code_for_it():
    config = make_vae(kl_weight=1.0).config  # a code would cost more than it is worth
    optimiser = make_optimiser(learning_rate=5e-3, batch_size=16, ema_decay=0.5)
    images, labels = rows(64), torch.arange(64) % 16
    found = {}
    for name, told in (("told", (labels, labels[:16])), ("plain", None)):
        _, found[name] = fit_vae(
            config, optimiser, images, images[:16], 6, 0, Callbacks(), labels=told
        )
    errors = {name: rows[-1]["validation_reconstruction"] for name, rows in found.items()}
    assert errors["told"] < 0.8 * errors["plain"]


class Stop(Exception):
    """Ends a training on its way."""


@pytest.mark.parametrize("kind", ["vq", "rae"])
def test_it_goes_on_where_it_stopped_to_the_same_bytes(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(diffusevae.training.checkpointer, "SECONDS_BETWEEN", 0)

    def on_batch(epoch: int, done: int, total: int, epochs: int) -> None:
        if (epoch, done) == (2, 2):
            raise Stop

    checkpointer = Checkpointer(tmp_path / "progress", print)
    with pytest.raises(Stop):
        train(kind, 2, Callbacks(on_batch=on_batch), checkpointer)
    resumed, unbroken = train(kind, 2, None, checkpointer), train(kind, 2)
    assert resumed[1] == unbroken[1]
    for name, (vae, _) in {"resumed": resumed, "unbroken": unbroken}.items():
        save_vae(tmp_path / name, vae)
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "unbroken").read_bytes()


def test_several_processes_are_refused_a_codebook():
    with pytest.raises(InputError, match="vae.kind vq: 2 processes"):
        train("vq", 1, group=Group(0, 2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_captured_step_trains_a_codebook_as_a_plain_one_does(monkeypatch):
    found = {}
    for way in ("plain", "captured"):
        monkeypatch.setenv(LAUNCH_VARIABLE, way)
        found[way] = train("vq", 3, device="cuda")[0].state_dict()
    for name, tensor in found["plain"].items():
        assert torch.equal(tensor, found["captured"][name]), name
