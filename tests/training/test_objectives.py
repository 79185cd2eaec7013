"""Objectives by hand, and that the fair ones do not pick what the study's pick."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from diffusevae.core.errors import InputError
from diffusevae.data.dataset import to_unit
from diffusevae.data.idx import read_idx_set
from diffusevae.data.resizing import resize
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.schedule import make_schedule
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae import VAE, VAEConfig
from diffusevae.models.vae_losses import vae_loss
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Callbacks, OptimiserConfig
from diffusevae.training.objectives import (
    LEVELS_DB,
    bound_vae,
    floor_of_eps,
    floor_of_vae,
    floor_of_x_0,
    measure_x_0_error,
    principal_variances,
    shared_levels,
)
from diffusevae.training.vae_training import fit_vae
from tests.support.real_data import raw_folder
from tests.support.toy_models import make_diffusion

OPTIMISER = OptimiserConfig(3e-3, "cosine", 32, 1.0, 0.9)


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    """1,256 real digits, 16 x 16, uint8."""
    images, _ = read_idx_set(raw_folder("mnist"), "train")
    return resize(images[:1256], 16, "bilinear", antialias=True)


@pytest.mark.parametrize(
    ("dataset", "expected"),  # docs/study.md, 5: linear, T = 1000, up to these beta_end
    [
        ("mnist", {0.01: 0.0386, 0.02: 0.0280, 0.024: 0.0257, 0.03: 0.0231}),
        ("fashion_mnist", {0.01: 0.0424}),
    ],
)
def test_the_floor_of_eps_falls_with_beta_end_whatever_the_network(dataset, expected):
    images, _ = read_idx_set(raw_folder(dataset), "train")
    variances = principal_variances(to_unit(resize(images[:10_000], 32, "bilinear", True)))
    for beta_end, value in expected.items():
        floor = floor_of_eps(make_schedule("linear", 1000, 1e-4, beta_end), variances)
        assert floor == pytest.approx(value, rel=0.02)


def test_floors_of_one_gaussian_value_by_hand():
    schedule = make_schedule("linear", 2, 0.1, 0.5)  # bar_alpha 0.9, 0.45
    expected = np.mean([0.9 * 4 / (0.9 * 4 + 0.1), 0.45 * 4 / (0.45 * 4 + 0.55)])
    assert floor_of_eps(schedule, np.array([4.0])) == pytest.approx(expected)
    assert floor_of_x_0(2.0, np.array([4.0])) == pytest.approx(4 / 9)  # 1 / (1/4 + 2)
    # Of two directions one is coded, down to an error of kl_weight D / 2 = 0.1.
    expected = (0.1 + 0.3) / 2 + 0.1 * 0.5 * math.log(1 / 0.1)
    assert floor_of_vae(np.array([1.0, 0.3]), 0.1, num_codes=1) == pytest.approx(expected)
    assert floor_of_vae(np.array([0.05, 0.02]), 0.1, num_codes=2) == pytest.approx(0.035)


def test_the_floor_of_a_linear_vae_is_the_least_over_the_error_it_keeps():
    errors = np.linspace(1e-3, 1, 100_000)
    losses = errors + 0.05 * 0.5 * np.log(1 / errors)
    assert floor_of_vae(np.array([1.0]), 0.05, 1) == pytest.approx(losses.min(), rel=1e-6)


def test_the_bound_is_the_likelihood_of_the_best_spread():
    """bits per dimension of values 0 .. 255 under a Gaussian of the best width."""
    errors = torch.tensor([0.1, -0.2, 0.05, 0.3], dtype=torch.float64)
    widths = torch.linspace(0.05, 0.5, 4001, dtype=torch.float64)
    nats = min(float(-torch.distributions.Normal(0.0, s).log_prob(errors).mean()) for s in widths)
    expected = (nats + math.log(256) + 6 / 4) / math.log(2)
    assert bound_vae(float(errors.square().mean()), 6.0, 4) == pytest.approx(expected, abs=1e-4)
    assert math.isfinite(bound_vae(0.0, 0.0, 4))


def test_the_same_pictures_have_the_same_bound_whatever_the_training_minimised(digits):
    found = []
    for kind in ("mse", "bce", "l1"):
        torch.manual_seed(0)
        vae = VAE(VAEConfig(4, 8, (1, 2, 2), (), 0.0, kind, 1e-3), digits.shape[1:])
        torch.nn.init.normal_(vae.decoder.layers[-1].weight)  # it starts at zero
        losses = vae_loss(vae, to_unit(digits[:50]), torch.zeros(50, *vae.latent_shape))
        error = losses.get("mse", losses["reconstruction"])
        found.append(bound_vae(float(error), float(losses["kl"]), 256))
    assert found == [pytest.approx(found[0], rel=1e-6)] * 3


def test_principal_variances_are_those_of_the_covariance():
    rng = np.random.default_rng(0)
    tall = torch.from_numpy(rng.normal(size=(50, 1, 3, 4)))
    wide = torch.from_numpy(rng.normal(size=(5, 1, 3, 4)))
    for images in (tall, wide):
        covariance = np.cov(images.flatten(1).numpy(), rowvar=False, bias=True)
        expected = np.maximum(np.linalg.eigvalsh(covariance)[::-1], 1e-12)
        np.testing.assert_allclose(principal_variances(images), expected, atol=1e-12)
    grey = torch.from_numpy(rng.integers(0, 256, (50, 1, 3, 4), dtype=np.uint8))
    np.testing.assert_array_equal(principal_variances(grey), principal_variances(to_unit(grey)))


class LinearDenoiser(nn.Module):
    """Predicts, as the model asks, E[x_0 | x_t] of independent values x_0 ~ N(mean, variance).

    The mean is the middle of the range.
    """

    def __init__(self, model, variance: float) -> None:
        super().__init__()
        self.alpha_bars, self.variance = model.schedule.alpha_bars.float(), variance
        self.kind, self.mean = model.config.prediction, sum(model.x_0_bounds) / 2

    def forward(self, x_t, t):
        a = self.alpha_bars[t][:, None, None, None].sqrt()
        s = (1 - a**2).sqrt()
        gain = a * self.variance / (a**2 * self.variance + s**2)
        x_0 = self.mean + gain * (x_t - a * self.mean)
        eps = (x_t - a * x_0) / s
        return {"x0": x_0, "eps": eps, "v": a * eps - s * x_0}[self.kind]


SCHEDULES = [
    ("linear", 1000, 0.02),
    ("cosine", 1000, 0.02),
    ("cosine", 500, 0.02),
    ("linear", 500, 0.01),
    ("linear", 750, 0.03),
    ("linear", 40, 0.02),
]


@pytest.mark.parametrize("prediction", ["x0", "v", "eps"])
@pytest.mark.parametrize("image_range", ["centred", "unit"])
@pytest.mark.parametrize(("scheduler_type", "num_timesteps", "beta_end"), SCHEDULES)
def test_the_best_linear_denoiser_has_an_error_of_one_for_every_schedule(
    scheduler_type, num_timesteps, beta_end, prediction, image_range
):
    model = make_diffusion(
        prediction,
        scheduler_type=scheduler_type,
        num_timesteps=num_timesteps,
        beta_end=beta_end,
        image_range=image_range,
    )
    variance = 0.04 if image_range == "centred" else 0.01
    model.unet = LinearDenoiser(model, variance)
    noise = torch.randn(200, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    x_0 = variance**0.5 * noise + (0.5 if image_range == "unit" else 0)
    images = x_0 if image_range == "unit" else (x_0 + 1) / 2
    levels = shared_levels([model.schedule])
    error = measure_x_0_error(model, images, np.full(256, variance), 0, levels)
    assert error == pytest.approx(1, rel=0.02)
    model.unet.variance *= 9
    assert measure_x_0_error(model, images, np.full(256, variance), 0, levels) > 1.05


def test_schedules_are_compared_where_all_of_them_have_noise_levels():
    ends_with_signal = make_schedule("linear", 500, 1e-4, 0.01)
    whole = make_schedule("linear", 1000, 1e-4, 0.02)
    assert shared_levels([whole]) == LEVELS_DB
    assert shared_levels([whole, ends_with_signal]) == tuple(range(-10, 21, 5))
    with pytest.raises(InputError, match="in common, by which objective fair compares"):
        shared_levels([make_schedule("linear", 10, 1e-6, 1e-5)])


def test_levels_span_what_matters():
    assert min(LEVELS_DB) == -20 and max(LEVELS_DB) == 20


def test_the_studys_objective_picks_the_schedule_that_is_nearly_all_noise(digits):
    """A beta_end of 0.5 makes nearly every x_t pure noise: easy to tell eps, nothing to learn."""
    train, held_out = digits[:1000], digits[1000:]
    unet = UNetConfig(8, (1, 2, 2), 1, (), 1, 16, 0.0, ("in",))
    variances = 4 * principal_variances(to_unit(digits))
    study, fair, floor = {}, {}, {}
    for beta_end in (0.02, 0.5):
        config = DiffusionConfig("linear", 1000, 1e-4, beta_end, "eps", "centred", False)
        model, history = fit_diffusion(
            config, unet, OPTIMISER, Images(train), Images(held_out), 2, 0.0, 0, Callbacks()
        )
        study[beta_end] = history[-1]["validation_noise_mse"]
        fair[beta_end] = measure_x_0_error(model, to_unit(held_out[:200]), variances, seed=0)
        floor[beta_end] = floor_of_eps(config.schedule, variances)
    assert min(study, key=study.get) == 0.5
    assert min(fair, key=fair.get) == 0.02
    assert all(study[beta_end] > floor[beta_end] for beta_end in study)
    assert min(floor, key=floor.get) == 0.5  # decided before any training


def test_the_studys_objective_picks_the_smallest_kl_weight(digits):
    train, held_out = digits[:1000], digits[1000:]
    study, fair = {}, {}
    for kl_weight in (1e-6, 1e-4):
        config = VAEConfig(4, 8, (1, 2, 2), (), 0.0, "mse", kl_weight)
        _, history = fit_vae(config, OPTIMISER, train, held_out, 4, 0, Callbacks())
        row = history[-1]
        study[kl_weight] = row["validation_loss"]
        fair[kl_weight] = bound_vae(row["validation_reconstruction"], row["validation_kl"], 256)
    assert min(study, key=study.get) == 1e-6
    assert min(fair, key=fair.get) == 1e-4
