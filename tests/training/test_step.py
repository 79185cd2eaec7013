"""However a step runs, the training ends with the same bytes, or with the same up to rounding."""

import dataclasses
from collections import Counter

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch.utils._python_dispatch import TorchDispatchMode

import diffusevae.training.checkpointer
from diffusevae.core.device import LAUNCH_VARIABLE
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Callbacks
from diffusevae.training.training_state import State
from tests.support.toy_models import make_diffusion, make_unet_config
from tests.support.toy_trainings import make_optimiser

CONFIG = DiffusionConfig("cosine", 100, 1e-4, 0.02, "v", "centred", True)
COUNT = 21  # images, so the last batch of an epoch is smaller
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch) -> str:
    monkeypatch.setenv("DIFFUSEVAE_PRECISION", "float32")
    return request.param


def train(device: str, checkpointer: Checkpointer | None = None, stop: int = 0, **changes):
    """Return weights and history of a DiffuseVAE with dropout and hidden conditions; `stop`: after
    so many steps of the second epoch."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (COUNT, 1, 16, 16), dtype=torch.uint8, generator=rng).to(device)
    both = Images(images, images.float() / 255)
    optimiser = make_optimiser(batch_size=4, learning_rate_decay="cosine", ema_decay=0.9)
    optimiser = dataclasses.replace(optimiser, learning_rate=5e-3)

    def on_batch(epoch: int, done: int, total: int) -> None:
        if epoch == 2 and done == stop:
            raise KeyboardInterrupt

    model, history = fit_diffusion(
        CONFIG,
        make_unet_config(**({"dropout": 0.2} | changes)),
        optimiser,
        both,
        both,
        2,
        0.3,
        0,
        Callbacks(on_batch=on_batch),
        checkpointer,
    )
    return model.state_dict(), history


def assert_same(found, expected) -> None:
    (weights, history), (expected_weights, expected_history) = found, expected
    assert history == expected_history
    assert all(torch.equal(weights[name], expected_weights[name]) for name in expected_weights)


def test_a_captured_step_gives_the_plain_one_s_bytes(device, monkeypatch):
    monkeypatch.setenv(LAUNCH_VARIABLE, "plain")
    plain = train(device)
    monkeypatch.setenv(LAUNCH_VARIABLE, "captured")
    assert_same(train(device), plain)


def test_a_captured_training_that_is_stopped_ends_with_the_same_bytes(
    device, monkeypatch, tmp_path
):
    monkeypatch.setenv(LAUNCH_VARIABLE, "captured")
    monkeypatch.setattr(diffusevae.training.checkpointer, "SECONDS_BETWEEN", 0)
    whole = train(device)
    with pytest.raises(KeyboardInterrupt):
        train(device, Checkpointer(tmp_path / "progress", print), stop=4)
    assert_same(train(device, Checkpointer(tmp_path / "progress", print)), whole)


def test_a_step_that_cannot_be_compiled_runs_as_it_is(monkeypatch, capsys):
    monkeypatch.setenv(LAUNCH_VARIABLE, "plain")
    plain = train("cpu")

    def fail(function, **_):
        def call(*_):
            raise BackendCompilerFailed(function, RuntimeError("no C compiler"), None)

        return call

    monkeypatch.setattr(torch, "compile", fail)
    monkeypatch.setenv(LAUNCH_VARIABLE, "compiled")
    assert_same(train("cpu"), plain)
    assert capsys.readouterr().err.count("not compiled, steps are slower") == 1


def test_a_step_makes_bfloat16_of_each_weight_once(monkeypatch):
    monkeypatch.setenv("DIFFUSEVAE_PRECISION", "bfloat16")
    model = make_diffusion()
    State(model, 1e-3)
    names = {weight.data_ptr(): name for name, weight in model.named_parameters()}
    casts: Counter[str] = Counter()

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            if function is torch.ops.aten._to_copy.default:
                casts.update(names.get(each.data_ptr(), "other") for each in arguments)
            return function(*arguments, **(options or {}))

    with Count():
        x = torch.rand(4, 1, 16, 16)
        model.losses(x, torch.arange(4), torch.randn_like(x))["loss"].backward()
    del casts["other"]
    assert len(casts) > 50 and set(casts.values()) == {1}


SMALL = {"channel_multipliers": (1,), "blocks_per_level": 1, "attention_levels": (), "dropout": 0.0}


@pytest.mark.slow
def test_a_compiled_training_ends_as_the_plain_one_up_to_rounding(device, monkeypatch):
    monkeypatch.setenv(LAUNCH_VARIABLE, "plain")
    plain, history = train(device, **SMALL, fuse=("concat",))
    monkeypatch.setenv(LAUNCH_VARIABLE, "compiled")
    compiled, compiled_history = train(device, **SMALL, fuse=("concat",))
    assert compiled_history[-1]["train_loss"] == pytest.approx(history[-1]["train_loss"], rel=1e-3)
    far = torch.cat([(compiled[name] - plain[name]).flatten() for name in plain])
    assert far.norm() < 1e-2 * torch.cat([plain[name].flatten() for name in plain]).norm()
