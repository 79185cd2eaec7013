"""However a step runs, the training ends with the same bytes, or with the same up to rounding."""

import dataclasses
from collections import Counter
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.exc import BackendCompilerFailed
from torch.utils._python_dispatch import TorchDispatchMode

import diffusevae.training.checkpointer
from diffusevae.core.device import LAUNCH_VARIABLE, choose_device
from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.models.classifier import Classifier, ClassifierConfig
from diffusevae.models.code_diffusion import CodeDiffusion
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.index_prior import IndexPrior
from diffusevae.models.vae_losses import draw_noise, vae_loss
from diffusevae.training import loop
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.classifier_training import fit_classifier
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.distributed import ALONE
from diffusevae.training.loop import Callbacks, Fit
from diffusevae.training.step import make_step
from diffusevae.training.training_state import State
from diffusevae.training.vae_training import fit_vae
from tests.support.toy_models import make_diffusion, make_unet_config, make_vae
from tests.support.toy_trainings import Scalar, make_optimiser

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
    if request.param == "cuda":
        choose_device()
    return request.param


def train(
    device: str,
    checkpointer: Checkpointer | None = None,
    stop: int = 0,
    accumulate: int = 1,
    **changes,
):
    """Return weights and history of a DiffuseVAE with dropout and hidden conditions; `stop`: after
    so many steps of the second epoch."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (COUNT, 1, 16, 16), dtype=torch.uint8, generator=rng).to(device)
    both = Images(images, images.float() / 255)
    optimiser = make_optimiser(batch_size=4, learning_rate_decay="cosine", ema_decay=0.9)
    optimiser = dataclasses.replace(optimiser, learning_rate=5e-3, accumulate=accumulate)

    def on_batch(epoch: int, done: int, total: int, epochs: int) -> None:
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


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_captured_step_gives_the_plain_one_s_bytes(device, monkeypatch, accumulate):
    monkeypatch.setenv(LAUNCH_VARIABLE, "plain")
    plain = train(device, accumulate=accumulate)
    monkeypatch.setenv(LAUNCH_VARIABLE, "captured")
    assert_same(train(device, accumulate=accumulate), plain)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_captured_training_that_is_stopped_ends_with_the_same_bytes(
    device, monkeypatch, tmp_path, accumulate
):
    monkeypatch.setenv(LAUNCH_VARIABLE, "captured")
    monkeypatch.setattr(diffusevae.training.checkpointer, "SECONDS_BETWEEN", 0)
    whole = train(device, accumulate=accumulate)
    with pytest.raises(KeyboardInterrupt):
        train(device, Checkpointer(tmp_path / "progress", print), 4, accumulate)
    again = Checkpointer(tmp_path / "progress", print)
    assert_same(train(device, again, accumulate=accumulate), whole)


@pytest.mark.parametrize("kind", ["gaussian", "rae", "diffusevae", "classifier"])
def test_small_batches_that_make_one_step_end_as_one_batch_as_large_as_all(kind):
    """Of 21 images: two steps of 3 parts of 3 images, and one of 3 images, in 3 parts of 1."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (COUNT, 1, 16, 16), dtype=torch.uint8, generator=rng)
    labels = torch.arange(COUNT) % 3
    told = Images(images, images.float() / 255, labels)
    rates = dict(learning_rate=1e-3, batch_size=9, ema_decay=0.9)

    def fit(accumulate: int):
        optimiser = make_optimiser(accumulate=accumulate, **rates)
        if kind == "classifier":
            config, both = ClassifierConfig(8, 8, 0.0, 2), (images, labels)
            return fit_classifier(config, optimiser, both, both, 0, Callbacks())
        if kind == "diffusevae":
            unet = make_unet_config(labels=True)
            return fit_diffusion(CONFIG, unet, optimiser, told, told, 2, 0.3, 0, Callbacks())
        vae = make_vae((1, 16, 16), kind=kind).config
        return fit_vae(vae, optimiser, images, images, 2, 0, Callbacks())

    (whole, history), (parts, history_of_parts) = fit(1), fit(3)
    for row, same in zip(history, history_of_parts, strict=True):
        assert same == pytest.approx(row, rel=1e-4)
    ours, theirs = (
        torch.cat([weights.flatten() for weights in model.parameters()]) for model in (whole, parts)
    )
    # Where a gradient is nothing but rounding, Adam still steps: a few weights in a thousand.
    assert torch.isclose(ours, theirs, rtol=1e-3, atol=1e-5).float().mean() > 0.99
    assert (ours - theirs).norm() < 1e-3 * ours.norm()


@pytest.mark.parametrize(
    ("accumulate", "expected"), [(1, [5, 2]), (2, [3, 2, 1, 1]), (4, [2, 2, 1, 1, 1])]
)
def test_a_batch_passes_in_parts_each_with_its_share(accumulate, expected):
    """The mean of v x over the batch has the gradient of the mean of x, however it is parted."""
    seen, gradients = [], []
    x = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])

    def losses(model, rows):
        seen.append(len(rows))
        return {"loss": (model.value * rows).mean()}

    def validate(model):
        gradients.append(float(trained.value.grad))
        return {"loss": 0.0}

    trained = Scalar()
    task = Fit(lambda i, epoch, batch, rows: (x[i[rows]],), losses, validate, 7, in_parts=True)
    optimiser = make_optimiser(batch_size=5, accumulate=accumulate, gradient_clip_norm=1e6)
    _, history = loop.fit(trained, optimiser, 1, 0, task, Callbacks())
    assert seen == expected
    last = torch.randperm(7, generator=generator(0, "order", 1))[5:]
    assert gradients == [pytest.approx(float(x[last].mean()))]


def test_a_training_whose_losses_are_of_whole_batches_takes_no_parts():
    task = Fit(lambda i, *_: (i,), lambda model, _: {"loss": model.value.sum()}, lambda _: {}, 4)
    said = "accumulate 2: this training's losses are of whole batches; set it to 1"
    with pytest.raises(InputError, match=said):
        loop.fit(Scalar(), make_optimiser(accumulate=2), 1, 0, task, Callbacks())
    with pytest.raises(ValueError, match="a batch of 4 images has no so many parts"):
        make_optimiser(accumulate=5)


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


# For these the CPU waits until the GPU has come so far, or a CPU's numbers go there.
WAITS = {"_local_scalar_dense", "equal", "lift_fresh", "masked_select", "nonzero", "_unique2"}
# Of these a GPU has no deterministic kernel (torch.use_deterministic_algorithms).
UNSTEADY = {
    *("_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "avg_pool3d_backward"),
    *("_ctc_loss_backward", "_embedding_bag_backward", "cumsum", "histc", "median", "put_"),
    *(
        "grid_sampler_2d_backward",
        "max_unpool2d",
        "nll_loss2d_forward",
        "reflection_pad2d_backward",
    ),
    *("upsample_bilinear2d_backward", "upsample_bicubic2d_backward", "upsample_linear1d_backward"),
}


class OnGPU(TorchDispatchMode):
    """Refuses what a GPU could not record, or not do twice to the same bytes."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.name().removeprefix("aten::").split(".")[0]
        assert name not in WAITS | UNSTEADY, name
        if name == "index":
            assert all(at is None or at.dtype is not torch.bool for at in arguments[1]), "a mask"
        return function(*arguments, **(options or {}))


def of_diffusion(fuse=("in", "down", "skip"), num_classes=0):
    model = make_diffusion("v", conditional=True, fuse=fuse, num_classes=num_classes)
    x = torch.rand(4, 1, 16, 16)
    labels = [torch.arange(4)] if num_classes else []
    return model, DiffusionModel.losses, (x, torch.arange(4), torch.randn_like(x), x, *labels)


def of_vae(**changes):
    vae = make_vae(image_shape=(1, 16, 16), dropout=0.1, **changes)
    noise = draw_noise(vae, 4, torch.Generator().manual_seed(0))
    return vae, vae_loss, (torch.rand(4, 1, 16, 16), noise)


def of_classifier():
    model = Classifier(ClassifierConfig(8, 16, 0.1, 1), (1, 16, 16), 10)

    def losses(model, x, label):
        return {"loss": F.cross_entropy(model(x), label)}

    return model, losses, (torch.rand(4, 1, 16, 16), torch.arange(4))


def of_indices():
    return IndexPrior(16, 9, 16), IndexPrior.losses, (torch.arange(36).view(4, 9) % 16,)


def of_codes():
    codes = torch.randn(4, 3, 4, 4)
    model = CodeDiffusion(CONFIG, 16, codes)
    return model, DiffusionModel.losses, model.draw(codes, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "make",
    [
        of_diffusion,
        partial(of_diffusion, ("shift", "concat"), 10),
        of_vae,
        partial(of_vae, kind="vq", reconstruction="bce"),
        partial(of_vae, kind="rae", reconstruction="l1"),
        of_classifier,
        of_indices,
        of_codes,
    ],
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_waits_for_nothing_and_comes_to_the_same_twice(make, precision, monkeypatch):
    monkeypatch.setenv("DIFFUSEVAE_PRECISION", precision)
    model, losses, batch = make()
    state = State(model.train(), 1e-3)
    step = make_step(state, losses, 1.0, 4, 4, ALONE)
    state.set_pace(1e-3, 0.9)
    with OnGPU():
        step(batch, 4)
    assert state.weights.isfinite().all()


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
