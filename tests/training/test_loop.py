"""The training loop on problems whose answer is known."""

import math

import pytest
import torch
from torch import nn

import diffusevae.training.checkpointer
from diffusevae.core.errors import InputError
from diffusevae.data.dataset import Split
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.vae import reconstruct_all
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Callbacks, Fit, fit
from diffusevae.training.training_state import join_weights
from diffusevae.training.vae_training import fit_vae, take_snapshot
from tests.support.toy_models import make_unet_config, make_vae
from tests.support.toy_trainings import Scalar, make_optimiser

ONE = {"loss": 1.0}


def index(indices, *_):
    """Draw a batch of which no more is known than which images it has."""
    return (indices,)


def drift(model, *_):
    """Return a loss that always pushes the same way."""
    return {"loss": -model.value.sum()}


def fit_mean(targets, optimiser, epochs=30, on_epoch=lambda *_: None, start=0.0):
    """Fit one number to the mean of targets."""
    task = Fit(
        draw=lambda i, *_: (targets[i],),
        losses=lambda model, target: {"loss": (model.value - target).square().mean()},
        validate=lambda model: {"loss": float((model.value - targets).square().mean())},
        num_images=len(targets),
    )
    return fit(Scalar(start), optimiser, epochs, 0, task, Callbacks(on_epoch))


def test_fit_finds_the_mean():
    targets = torch.tensor([1.0, 2.0, 3.0, 6.0, 1.0, 2.0, 3.0, 6.0])
    model, history = fit_mean(targets, make_optimiser(batch_size=8), epochs=200)
    assert float(model.value.detach()) == pytest.approx(3.0, abs=0.02)
    assert [row["epoch"] for row in history] == list(range(1, 201))
    assert history[-1]["validation_loss"] == pytest.approx(3.5, abs=0.01)  # the variance


def test_every_image_is_seen_once_an_epoch_in_an_order_that_changes():
    orders: dict[int, list[int]] = {1: [], 2: []}

    def draw(indices, epoch, batch, rows):
        orders[epoch] += indices.tolist()
        return (indices,)

    task = Fit(draw, lambda model, _: {"loss": model.value.square().sum()}, lambda _: ONE, 10)
    fit(Scalar(), make_optimiser(batch_size=3), 2, 0, task, Callbacks())
    assert sorted(orders[1]) == sorted(orders[2]) == list(range(10))
    assert orders[1] != orders[2]


def test_gradients_are_clipped_to_the_norm():
    task = Fit(index, lambda model, _: {"loss": 1e6 * model.value.sum()}, lambda _: ONE, 4)
    model = Scalar(1.0)
    fit(model, make_optimiser(gradient_clip_norm=0.5), 1, 0, task, Callbacks())
    assert float(model.value.grad.norm()) == pytest.approx(0.5)


def test_the_best_epoch_is_kept_not_the_last():
    validated = iter([3.0, 1.0, 2.0])
    values = []
    task = Fit(index, drift, lambda _: {"loss": next(validated)}, 4)
    watch = Callbacks(lambda epoch, row, model: values.append(float(model.value)))
    best, _ = fit(Scalar(), make_optimiser(), 3, 0, task, watch)
    assert values[0] < values[1] < values[2]
    assert float(best.value) == values[1]


def test_ema_weights_follow_the_formula():
    model = Scalar()
    seen = []

    def on_epoch(epoch, row, ema):
        seen.append((model.value.item(), ema.value.item()))

    task = Fit(index, drift, lambda _: ONE, 1)
    fit(model, make_optimiser(ema_decay=0.9), 3, 0, task, Callbacks(on_epoch))
    average = 0.0
    for step, (value, ema) in enumerate(seen):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
        assert ema == pytest.approx(average)


def test_cosine_decay_ends_near_zero():
    rates = []
    model = Scalar()

    def losses(m, _):
        rates.append(float(m.value))
        return drift(m)

    task = Fit(index, losses, lambda _: ONE, 4)
    fit(model, make_optimiser(learning_rate_decay="cosine"), 50, 0, task, Callbacks())
    steps = [b - a for a, b in zip(rates, rates[1:], strict=False)]
    assert steps[0] == pytest.approx(0.05, rel=0.01)  # Adam's first step is the learning rate
    assert steps[len(steps) // 2] == pytest.approx(0.025, rel=0.1)
    assert steps[-1] < 0.001


@pytest.mark.parametrize(
    ("decay", "warmup", "expected"),
    [
        ("none", 0.0, [1, 1, 1, 1, 1, 1, 1, 1]),
        ("none", 1.5, [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1]),
        # The 4 steps that are left: (1 + cos(0, 45, 90, 135 degrees)) / 2.
        ("cosine", 2.0, [0.25, 0.5, 0.75, 1, 1, 0.853553, 0.5, 0.146447]),
        ("cosine", 0.5, [1, *(0.5 + 0.5 * math.cos(math.pi * i / 7) for i in range(7))]),
    ],
)
def test_the_learning_rate_rises_evenly_and_then_decays(decay, warmup, expected):
    """Adam's step along a gradient that stays the same is the learning rate; 2 steps an epoch."""
    values = []
    model = Scalar()

    def losses(m, _):
        values.append(float(m.value))
        return drift(m)

    task = Fit(index, losses, lambda _: ONE, 8)
    optimiser = make_optimiser(learning_rate_decay=decay, learning_rate_warmup=warmup)
    fit(model, optimiser, 4, 0, task, Callbacks())
    values.append(float(model.value))
    steps = [(b - a) / 0.05 for a, b in zip(values, values[1:], strict=False)]
    assert steps == pytest.approx(expected, rel=1e-4)


def test_a_training_outlasts_its_warm_up():
    task = Fit(index, drift, lambda _: ONE, 4)
    said = "learning_rate_warmup 2: a training has only 2 epochs; use less than that"
    with pytest.raises(InputError, match=said):
        fit(Scalar(), make_optimiser(learning_rate_warmup=2.0), 2, 0, task, Callbacks())


def test_with_flips_each_image_comes_once_an_epoch_as_it_is_or_mirrored():
    """Index 40 + i is that of image i mirrored; which it is depends on seed, epoch and batch."""

    def draw_all(seed: int) -> list[list[int]]:
        orders: list[list[int]] = [[], []]

        def draw(indices, epoch, batch, rows):
            orders[epoch - 1] += indices.tolist()
            return (indices,)

        task = Fit(draw, drift, lambda _: ONE, 40, flips=True)
        fit(Scalar(), make_optimiser(), 2, seed, task, Callbacks())
        return orders

    first, second = draw_all(0)
    assert draw_all(0) == [first, second] != draw_all(1)
    for order in (first, second):
        assert sorted(i % 40 for i in order) == list(range(40))
        assert 10 < sum(i >= 40 for i in order) < 30
    mirrored = [{i for i in order if i >= 40} for order in (first, second)]
    assert mirrored[0] != mirrored[1]


@pytest.mark.fault("T8")
def test_a_loss_that_stops_being_finite_ends_the_training_with_the_mend():
    task = Fit(index, lambda model, _: {"loss": model.value.sum() * math.nan}, lambda _: ONE, 4)
    with pytest.raises(InputError, match="train_loss is nan after epoch 1.*smaller learning_rate"):
        fit(Scalar(), make_optimiser(), 2, 0, task, Callbacks())


@pytest.mark.fault("T8")
def test_a_checkpoint_of_what_is_no_number_takes_no_good_one_s_place(tmp_path, monkeypatch):
    monkeypatch.setattr(diffusevae.training.checkpointer, "SECONDS_BETWEEN", 0)
    steps = []

    def losses(model, batch):
        steps.append(batch)
        factor = math.nan if len(steps) == 6 else 1.0
        return {"loss": model.value.sum() * factor}

    checkpointer = Checkpointer(tmp_path, print)
    with pytest.raises(InputError, match="train_loss is nan in epoch 2 at learning rate"):
        task = Fit(index, losses, lambda _: ONE, 16)
        fit(Scalar(), make_optimiser(), 3, 0, task, Callbacks(), checkpointer)
    tensors, facts = checkpointer.load()
    assert facts["step"] == 5 and torch.isfinite(tensors["model/value"]).all()


def test_joined_weights_and_gradients_are_those_of_the_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 1, 1)).to(
        memory_format=torch.channels_last
    )
    before = {name: p.clone() for name, p in model.named_parameters()}
    x = torch.randn(2, 2, 5, 5)
    expected = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    weights = join_weights(model)
    assert weights.numel() == sum(p.numel() for p in before.values())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    model(x).square().sum().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert float(weights.grad.norm()) == pytest.approx(
        math.sqrt(sum(float(g.square().sum()) for g in expected))
    )
    with torch.no_grad():
        weights += 1
    assert all(torch.equal(p, before[name] + 1) for name, p in model.named_parameters())


def bars(count: int) -> torch.Tensor:
    """Images with one white row, uint8 count x 1 x 16 x 16."""
    images = torch.zeros(count, 1, 16, 16, dtype=torch.uint8)
    images[torch.arange(count), 0, torch.arange(count) % 16] = 255
    return images


def train_small_vae(seed: int = 0):
    return fit_vae(
        make_vae().config,
        make_optimiser(learning_rate=5e-3, batch_size=16),
        bars(64),
        bars(16),
        3,
        seed,
        Callbacks(),
    )


def test_a_vae_learns_and_the_seed_decides_its_bytes():
    (first, history), (second, _), (other, _) = (train_small_vae(s) for s in (0, 0, 1))
    assert history[-1]["validation_reconstruction"] < 0.5 * 0.25  # it starts at 1/4
    states = [model.state_dict() for model in (first, second, other)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not all(torch.equal(states[0][k], states[2][k]) for k in states[0])


def test_a_snapshot_holds_what_the_figures_show():
    images = bars(30)
    split = Split(images, torch.arange(30) % 10, torch.arange(30))
    snapshot = take_snapshot(make_vae(image_shape=(1, 16, 16)).eval(), split, 12, seed=0)
    assert snapshot["real"].shape == snapshot["samples"].shape == (20, 1, 16, 16)
    assert snapshot["mu"].shape == (12, 3 * 4 * 4)
    assert snapshot["labels"].tolist() == [*range(10), 0, 1]
    assert snapshot["kl"].shape == (3 * 4 * 4,)
    assert snapshot["drawn"].shape == (500, 1, 16, 16) and snapshot["drawn"].dtype == torch.uint8


def train_small_diffusion(with_x_hat: bool, epochs: int = 3):
    config = DiffusionConfig("cosine", 100, 1e-4, 0.02, "v", "centred", False)
    vae = make_vae(image_shape=(1, 16, 16)).eval().requires_grad_(False)
    before = {k: v.clone() for k, v in vae.state_dict().items()}
    train, validation = (
        Images(x, reconstruct_all(vae, x) if with_x_hat else None) for x in (bars(64), bars(16))
    )
    model, history = fit_diffusion(
        config,
        make_unet_config(),
        make_optimiser(learning_rate=5e-3, batch_size=16),
        train,
        validation,
        epochs,
        0.2 if with_x_hat else 0.0,
        0,
        Callbacks(),
    )
    return model, history, before, vae


@pytest.mark.parametrize("with_x_hat", [False, True])
def test_a_diffusion_model_learns(with_x_hat):
    model, history, _, _ = train_small_diffusion(with_x_hat, epochs=8)
    assert model.unet.conditional == with_x_hat
    assert history[-1]["validation_loss"] < 0.7 * history[0]["validation_loss"]


def test_training_diffusevae_leaves_the_vae_as_it_was():
    _, _, before, vae = train_small_diffusion(with_x_hat=True, epochs=1)
    assert all(torch.equal(before[k], v) for k, v in vae.state_dict().items())
    assert not vae.training


def test_validation_draws_the_same_noise_in_every_epoch():
    """With a learning rate of (almost) nothing, two epochs validate to the same number."""
    config = DiffusionConfig("cosine", 100, 1e-4, 0.02, "eps", "centred", False)
    images = Images(bars(16))
    _, history = fit_diffusion(
        config,
        make_unet_config(),
        make_optimiser(learning_rate=1e-8),
        images,
        images,
        2,
        0.0,
        0,
        Callbacks(),
    )
    assert history[0]["validation_loss"] == pytest.approx(history[1]["validation_loss"], rel=1e-4)
