"""Bits per dimension: terms by hand, and a Gaussian whose bound and entropy are known."""

import math

import pytest
import torch

from diffusevae.core.randomness import generator
from diffusevae.metrics.bound import (
    VARIANCES,
    chain_nats,
    decoder_nats,
    draw_times,
    measure_bound,
    prior_nats,
)
from diffusevae.models.schedule import make_schedule
from tests.support.exact_models import ExactGaussian
from tests.support.toy_models import make_diffusion

MEAN, STD = 0.1, 0.25  # of Gaussian "images" in the range of diffusion


def gaussian_kl(mean, variance, other_mean, other_variance) -> float:
    ratio = variance / other_variance
    return 0.5 * (ratio - 1 - math.log(ratio) + (mean - other_mean) ** 2 / other_variance)


def test_the_prior_s_term_is_the_kl_of_two_gaussians():
    x_0 = torch.tensor([-1.0, 0.0, 0.3])
    for alpha_bar in (0.3, 1e-4, 0.0):
        expected = [gaussian_kl(alpha_bar**0.5 * v, 1 - alpha_bar, 0, 1) for v in x_0.tolist()]
        assert prior_nats(x_0, alpha_bar).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", VARIANCES)
def test_the_chain_s_term_is_the_kl_of_the_posterior_and_the_step(kind):
    """With the means of DDPM, eq. 7, for the true x_0 and the predicted one."""
    schedule, t, x_0, predicted, x_t = make_schedule("linear", 60, 1e-3, 0.2), 20, 0.4, -0.1, 0.9
    beta, before, now = schedule.betas[t], *schedule.alpha_bars[t - 1 : t + 1]

    def mean(value: float) -> float:
        weights = (before.sqrt() * beta, (1 - beta).sqrt() * (1 - before))
        return float((weights[0] * value + weights[1] * x_t) / (1 - now))

    variance = float(beta * (1 - before) / (1 - now))
    own = variance if kind == "posterior" else float(beta)
    expected = gaussian_kl(mean(x_0), variance, mean(predicted), own)
    error = torch.tensor((x_0 - predicted) ** 2, dtype=torch.float64)
    assert float(chain_nats(float(before), float(now), error, kind)) == pytest.approx(expected)
    assert chain_nats(float(before), 0.0, error, kind).isfinite()  # where all is noise


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("spread", [0.003, 0.2])
def test_the_decoder_s_masses_of_all_256_values_make_1(low, high, spread):
    values = low + (high - low) * torch.arange(256) / 255
    for mean in (low, 0.31, high):
        masses = torch.exp(-decoder_nats(values, torch.full((256,), mean), spread, low, high))
        assert float(masses.sum()) == pytest.approx(1, abs=1e-6)
    middle, half = values[100], (high - low) / 510
    normal = torch.distributions.Normal(float(middle) + 0.001, spread)
    mass = normal.cdf(middle + half) - normal.cdf(middle - half)
    found = decoder_nats(middle[None], middle[None] + 0.001, spread, low, high)
    assert float(found) == pytest.approx(-math.log(float(mass)), rel=1e-4)


def test_a_far_miss_costs_what_the_normal_s_tail_says_and_stays_finite():
    found = float(decoder_nats(torch.tensor([0.0]), torch.tensor([0.9]), 0.01, -1, 1))
    nearest = (0.9 - 1 / 255) / 0.01  # the tail beyond z is about exp(-z^2 / 2) / (z sqrt(2 pi))
    assert found == pytest.approx(
        nearest**2 / 2 + math.log(nearest * math.sqrt(2 * math.pi)), rel=1e-3
    )


def test_times_cover_the_chain_once():
    assert [t for t, _ in draw_times(50, 49, 0)] == list(range(1, 50))
    some = draw_times(1000, 10, 0)
    assert sum(weight for _, weight in some) == 999 and len(some) <= 10
    assert some != draw_times(1000, 10, 1)


@pytest.fixture(scope="module")
def grey_values() -> torch.Tensor:
    x_0 = MEAN + STD * torch.randn(24, 1, 32, 32, generator=generator(0))
    return ((x_0 + 1) / 2 * 255).round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("scheduler_type", ["linear", "cosine"])
def test_of_a_gaussian_every_term_is_known_and_their_sum_is_nearly_its_entropy(
    scheduler_type, grey_values
):
    """With the exact denoiser the error of x_0 is the variance of N(m, s^2) given x_t."""
    model = make_diffusion("x0", num_timesteps=400, scheduler_type=scheduler_type, beta_end=0.04)
    model.unet = ExactGaussian(model.schedule.alpha_bars, MEAN, STD)
    found = measure_bound(model, grey_values, None, seed=0, num_times=399)
    bits = {name: float(values.mean()) for name, values in found.items()}
    alpha_bars = model.schedule.alpha_bars
    errors = 1 / (1 / STD**2 + alpha_bars / (1 - alpha_bars))
    chain = sum(
        min(float(chain_nats(*alpha_bars[t - 1 : t + 1].tolist(), errors[t], v)) for v in VARIANCES)
        for t in range(1, 400)
    )
    assert bits["chain"] == pytest.approx(chain / math.log(2), rel=0.01)
    last = float(alpha_bars[-1])
    prior = 0.5 * (last * (MEAN**2 + STD**2 - 1) - math.log(1 - last)) / math.log(2)
    assert bits["prior"] == pytest.approx(prior, rel=0.02, abs=1e-6)
    entropy = math.log2(STD * math.sqrt(2 * math.pi * math.e) / (2 / 255))
    assert entropy - 0.01 < sum(bits.values()) < entropy + 0.15


def test_part_of_the_chain_stands_for_the_whole(grey_values):
    model = make_diffusion("x0", num_timesteps=400)
    model.unet = ExactGaussian(model.schedule.alpha_bars, MEAN, STD)
    whole, part = (measure_bound(model, grey_values, None, 0, n)["chain"] for n in (399, 40))
    assert float(part.mean()) == pytest.approx(float(whole.mean()), rel=0.1)
    assert torch.equal(part, measure_bound(model, grey_values, None, 0, 40)["chain"])
