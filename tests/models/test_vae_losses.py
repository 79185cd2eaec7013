"""KL and reconstruction errors, by hand and against torch.distributions."""

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as kl_of_distributions

from diffusevae.models.vae_losses import kl_divergence, kl_of_latents, reparameterise, vae_loss
from tests.support.toy_models import make_vae


def test_kl_equals_torch_distributions():
    torch.manual_seed(0)
    mu, logvar = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    expected = kl_of_distributions(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(mu, logvar), expected.flatten(1).sum(1))


def test_kl_of_one_latent_by_hand():
    assert kl_of_latents(torch.zeros(1, 1), torch.zeros(1, 1)) == 0
    assert kl_of_latents(torch.full((1, 1), 2.0), torch.zeros(1, 1)) == 2.0  # mu^2 / 2


def test_reparameterise_has_the_right_gradients():
    mu = torch.tensor([0.3], requires_grad=True)
    logvar = torch.tensor([0.8], requires_grad=True)
    eps = torch.tensor([1.7])
    reparameterise(mu, logvar, eps).backward()
    assert float(mu.grad) == 1
    assert float(logvar.grad) == pytest.approx(0.5 * float((0.5 * logvar.detach()).exp()) * 1.7)


@pytest.mark.parametrize(
    "kind, expected", [("mse", 0.25), ("l1", 0.5), ("bce", 0.6931471806)]
)  # an untrained decoder answers 1/2 everywhere: on a black image each error is known
def test_reconstruction_errors_by_hand(kind, expected):
    vae = make_vae(reconstruction=kind)
    losses = vae_loss(vae, torch.zeros(2, 1, 32, 32), torch.zeros(2, 3, 8, 8))
    assert float(losses["reconstruction"]) == pytest.approx(expected)
    total = losses["reconstruction"] + 0.5 * losses["kl"]
    torch.testing.assert_close(losses["loss"], total)
