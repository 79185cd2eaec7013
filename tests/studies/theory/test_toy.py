"""The toy in the plane: its network against the score, the chain and the samplers against q."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from diffusevae.core.randomness import generator
from diffusevae.studies.theory.theory_config import TheoryConfig
from diffusevae.studies.theory.toy import (
    SAMPLERS,
    SHARES,
    come_back,
    covariances_of,
    go,
    make_mixture,
    make_toy,
    moments_at,
    run_toy,
    way_back,
)
from tests.support.toy_artifacts import DIFFUSION

MIXTURE = make_mixture()
MODEL = make_toy(DIFFUSION, MIXTURE)
COUNT = 4000
CONFIG = TheoryConfig(4, 10, 4, 60, 10, 10, 1, 1e-4, 0.25)


@pytest.mark.parametrize("t", [3, 50, 95])
def test_the_network_is_that_of_the_mixture_s_score(t):
    """Tweedie: E[x_0 | x_t] = (x_t + (1 - bar_alpha) grad log p(x_t)) / sqrt(bar_alpha)."""
    alpha_bar = float(MODEL.schedule.alpha_bars[t])
    noisy = alpha_bar * covariances_of(MIXTURE.factors) + (1 - alpha_bar) * torch.eye(2)
    parts = MultivariateNormal(math.sqrt(alpha_bar) * MIXTURE.means, noisy)
    density = MixtureSameFamily(Categorical(MIXTURE.weights), parts)
    x_t = torch.randn(20, 2, generator=generator(0), requires_grad=True)
    (score,) = torch.autograd.grad(density.log_prob(x_t).sum(), x_t)
    expected = (x_t + (1 - alpha_bar) * score) / math.sqrt(alpha_bar)
    found = MODEL.unet(x_t.detach().reshape(20, 1, 1, 2), torch.tensor([t]))
    assert torch.allclose(found.flatten(1), expected, atol=2e-3)


def test_the_links_of_the_chain_come_to_its_closed_form():
    start = MIXTURE.sample(COUNT, generator(0)).flatten(1)
    paths = go(MODEL.schedule, start, seed=0)
    assert paths.points.shape == (101, COUNT, 2) and torch.equal(paths.points[0], start)
    for share in SHARES:
        alpha_bar, points = paths.at(share)
        mean, covariance = moments_at(MIXTURE, alpha_bar)
        assert torch.allclose(points.mean(0), mean, atol=0.06)
        assert torch.allclose(points.T.cov(), covariance, atol=0.08)
    together = torch.stack([paths.points[60], paths.points[61]]).flatten(0, 1)
    step = (paths.points[61] - paths.points[60]).std()
    assert step < 0.5 * together.std()  # a path, not new noise at every moment


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_brings_points_back_to_the_mixture(sampler):
    back = come_back(MODEL, way_back(sampler, 100, COUNT), COUNT, seed=0)
    assert back.points.shape == (101, COUNT, 2) and back.alpha_bars[0] == 1
    for share in SHARES:
        alpha_bar, points = back.at(share)
        mean, covariance = moments_at(MIXTURE, alpha_bar)
        assert torch.allclose(points.mean(0), mean, atol=0.06)
        assert torch.allclose(points.T.cov(), covariance, atol=0.08)
    nearest = torch.cdist(back.points[0], MIXTURE.means).argmin(1)
    shares = torch.bincount(nearest, minlength=3) / COUNT
    assert torch.allclose(shares, MIXTURE.weights, atol=0.04)


def test_the_table_has_a_row_for_each_sampler_and_moment():
    _, _, backward, table = run_toy(DIFFUSION, CONFIG, seed=0)
    assert list(backward) == list(SAMPLERS) and len(table) == len(SAMPLERS) * len(SHARES)
    assert table["alpha_bar"].iloc[0] == 1 and table["alpha_bar"].iloc[4] < 0.01
    assert (table["frechet_low"] <= table["frechet"]).all()
