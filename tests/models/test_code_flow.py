"""The flow over codes: there and back, its log-determinant, and densities that are known."""

import math

import pytest
import torch
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)

from diffusevae.models.code_flow import CodeFlow
from diffusevae.models.latent_mixture import Mixture

SHAPE = (2, 1, 3)


def make_mixture(covariance: str) -> Mixture:
    """Return three Gaussians over codes of 2 x 1 x 3 numbers."""
    rng = torch.Generator().manual_seed(0)
    factors = 0.3 * torch.randn(3, 6, 6, generator=rng).tril() + torch.eye(6)
    if covariance == "diag":
        factors = factors.diagonal(dim1=1, dim2=2).abs()
    else:
        factors.diagonal(dim1=1, dim2=2).abs_()
    return Mixture(
        torch.tensor([0.2, 0.3, 0.5]), 2 * torch.randn(3, 6, generator=rng), factors, SHAPE
    )


@pytest.fixture
def flow():
    """Return a flow in float64 whose couplings do something."""
    torch.manual_seed(0)
    flow = CodeFlow(make_mixture("full"), 16).double()
    for coupling in flow.couplings:
        torch.nn.init.normal_(coupling.layers[-1].weight)
    return flow


def test_codes_come_back(flow):
    codes = torch.randn(50, *SHAPE, generator=torch.Generator().manual_seed(1)).double()
    there, _ = flow.to_base(codes)
    assert (there - codes.flatten(1)).abs().max() > 0.1
    torch.testing.assert_close(flow.from_base(there), codes, rtol=0, atol=1e-5)


def test_the_log_determinant_is_that_of_the_jacobian(flow):
    for code in torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(2)).double():
        jacobian = torch.autograd.functional.jacobian(lambda z: flow.to_base(z[None])[0][0], code)
        _, found = flow.to_base(code[None])
        expected = torch.linalg.slogdet(jacobian.flatten(1)).logabsdet
        torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-5)
        assert found.abs().max() > 0.1


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_before_training_its_density_is_the_mixture_s_and_so_are_its_codes(covariance):
    mixture = make_mixture(covariance)
    flow = CodeFlow(mixture, 16)
    if covariance == "full":
        parts = MultivariateNormal(mixture.means, scale_tril=mixture.factors)
    else:
        parts = Independent(Normal(mixture.means, mixture.factors), 1)
    exact = MixtureSameFamily(Categorical(mixture.weights), parts)
    codes = mixture.sample(100, torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        flow.log_prob(codes), exact.log_prob(codes.flatten(1)), rtol=1e-4, atol=1e-3
    )
    made = flow.sample(100, torch.Generator().manual_seed(0))
    torch.testing.assert_close(made, codes, rtol=0, atol=1e-4)


def test_it_learns_a_density_that_no_gaussian_has():
    angle = 2 * math.pi * torch.rand(512, generator=torch.Generator().manual_seed(0))
    noise = 0.1 * torch.randn(512, 2, generator=torch.Generator().manual_seed(1))
    ring = (torch.stack([angle.cos(), angle.sin()], 1) + noise)[:, :, None, None]
    gaussian = Mixture(torch.ones(1), torch.zeros(1, 2), torch.full((1, 2), 0.5**0.5), (2, 1, 1))
    torch.manual_seed(0)
    flow = CodeFlow(gaussian, 32)
    optimiser = torch.optim.Adam(flow.parameters(), lr=1e-2)
    before = float(flow.losses(ring)["loss"].detach())
    for _ in range(100):
        loss = flow.losses(ring)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < before - 0.2
    radii = flow.sample(1000, torch.Generator().manual_seed(2)).flatten(1).norm(dim=1)
    assert float(radii.std()) < 0.6 * 0.46  # that of a Gaussian with this variance
