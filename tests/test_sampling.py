"""Samplers on a Gaussian whose exact denoiser is known, and against each other."""

import pytest
import torch
from torch import nn

from diffusevae.diffusion import DiffusionModel
from diffusevae.randomness import generator
from diffusevae.sampling import SamplerConfig, choose_timesteps, ddim_step, ddpm_step, sample
from tests.test_diffusion import make_model

MEAN, STD = 0.2, 0.3  # of the Gaussian "images", in the range of diffusion


class ExactGaussian(nn.Module):
    """The best denoiser for x_0 ~ N(MEAN, STD^2): predicts E[x_0 | x_t] from the schedule."""

    image_shape = (1, 8, 8)

    def __init__(self, alpha_bars: torch.Tensor) -> None:
        super().__init__()
        self.alpha_bars = alpha_bars.float()

    def forward(self, x_t, t):
        a = self.alpha_bars[t].sqrt()[:, None, None, None]
        return MEAN + a * STD**2 / (a**2 * STD**2 + 1 - a**2) * (x_t - a * MEAN)


def exact_model(num_timesteps=200) -> DiffusionModel:
    model = make_model("x0", num_timesteps=num_timesteps)
    model.unet = ExactGaussian(model.schedule.alpha_bars)
    return model


def make_sampler(**changes) -> SamplerConfig:
    values = dict(sampler="ddim", num_steps=200, eta=0.0, variance="posterior", guidance=0.0,
                  batch_size=128)  # fmt: skip
    return SamplerConfig(**(values | changes))


@pytest.mark.parametrize(
    "changes",
    [{"sampler": "ddim"}, {"sampler": "ddim", "eta": 1.0}, {"sampler": "ddpm"},
     {"sampler": "ddpm", "variance": "beta"}, {"sampler": "ddim", "num_steps": 100}],
)  # fmt: skip
def test_with_the_exact_denoiser_the_samples_have_the_datas_mean_and_spread(changes):
    images = sample(exact_model(), make_sampler(**changes), 256, seed=0)
    values = 2 * images - 1  # 16,384 values; clamping at +-1 hardly touches N(0.2, 0.3^2)
    assert float(values.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(values.std()) == pytest.approx(STD, rel=0.05)


def test_without_added_noise_the_ancestral_sampler_loses_spread():
    images = sample(exact_model(), make_sampler(sampler="ddpm", variance="zero"), 64, seed=0)
    assert float((2 * images - 1).std()) < 0.8 * STD


def test_ddim_with_eta_1_is_the_ancestral_step_with_the_posterior_variance():
    rng = generator(0)
    x_t, x_0, noise = (torch.randn(2, 1, 4, 4, generator=rng, dtype=torch.float64) for _ in "abc")
    for alpha_bar, alpha_bar_prev in [(0.3, 0.5), (0.9, 0.95), (0.5, 1.0)]:
        eps = (x_t - alpha_bar**0.5 * x_0) / (1 - alpha_bar) ** 0.5
        torch.testing.assert_close(
            ddim_step(x_0, eps, alpha_bar, alpha_bar_prev, 1.0, noise),
            ddpm_step(x_t, x_0, alpha_bar, alpha_bar_prev, "posterior", noise),
        )


def test_ancestral_mean_is_the_textbook_formula():
    """x_{t-1} = (x_t - beta / sqrt(1 - bar_alpha) eps) / sqrt(alpha): SPEC section 3."""
    alpha_bar, alpha_bar_prev = 0.42, 0.45
    alpha = alpha_bar / alpha_bar_prev
    x_0, eps = torch.tensor(0.3), torch.tensor(-1.1)
    x_t = alpha_bar**0.5 * x_0 + (1 - alpha_bar) ** 0.5 * eps
    expected = (x_t - (1 - alpha) / (1 - alpha_bar) ** 0.5 * eps) / alpha**0.5
    found = ddpm_step(x_t, x_0, alpha_bar, alpha_bar_prev, "zero", torch.tensor(5.0))
    assert float(found) == pytest.approx(float(expected))


def test_no_noise_at_the_last_step():
    arguments = torch.tensor(0.5), torch.tensor(0.4), 0.9, 1.0
    a, b = (ddpm_step(*arguments, "beta", torch.tensor(noise)) for noise in (0.0, 9.0))
    assert a == b == pytest.approx(0.4)


def test_timesteps_start_at_T_and_are_evenly_spaced():
    assert choose_timesteps(1000, 1000) == list(range(999, -1, -1))
    assert choose_timesteps(1000, 5) == [999, 799, 599, 399, 199]
    assert choose_timesteps(10, 1) == [9]
    with pytest.raises(ValueError, match="num_steps 11 is more than the 10 timesteps"):
        choose_timesteps(10, 11)


def test_the_callback_sees_every_step_and_the_result():
    seen = []
    images = sample(exact_model(), make_sampler(num_steps=5), 3, seed=1,
                    callback=lambda t, x_t, x_0: seen.append((t, x_0)))  # fmt: skip
    assert [t for t, _ in seen] == [199, 159, 119, 79, 39, -1]
    assert torch.equal(seen[-1][1], images)


def test_the_seed_decides_the_images_and_x_hat_conditions_them():
    model = make_model("v", conditional=True).eval()
    config = make_sampler(num_steps=4, batch_size=2)
    x_hat = torch.rand(3, 1, 16, 16, generator=generator(5))
    first = sample(model, config, 3, 0, x_hat)
    assert first.shape == (3, 1, 16, 16) and 0 <= first.min() and first.max() <= 1
    assert torch.equal(first, sample(model, config, 3, 0, x_hat))
    assert not torch.equal(first, sample(model, config, 3, 1, x_hat))
    assert not torch.equal(first, sample(model, config, 3, 0, 1 - x_hat))


