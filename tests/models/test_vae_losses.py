"""KL and reconstruction errors, by hand and against torch.distributions."""

import math

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as kl_of_distributions

from diffusevae.models.vae_losses import (
    draw_noise,
    kl_divergence,
    kl_of_latents,
    reparameterise,
    vae_loss,
)
from tests.support.toy_models import make_vae


def test_kl_equals_torch_distributions():
    torch.manual_seed(0)
    mu, logvar = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    expected = kl_of_distributions(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(mu, logvar), expected.flatten(1).sum(1))


def test_kl_is_what_drawn_codes_find():
    """E_q[log q(z) - log p(z)] over 100,000 codes z = mu + sigma eps, within 5 standard errors."""
    mu, logvar = torch.tensor([[0.8, -1.5, 0.0]]), torch.tensor([[-1.2, 0.3, -3.0]])
    eps = torch.randn(100_000, 3, generator=torch.Generator().manual_seed(0))
    z = reparameterise(mu, logvar, eps)
    log_q = -0.5 * ((z - mu) ** 2 / logvar.exp() + logvar)  # both without log(2 pi) / 2
    drawn = (log_q + 0.5 * z**2).sum(1)
    error = float(drawn.std()) / len(drawn) ** 0.5
    assert float(kl_divergence(mu, logvar)) == pytest.approx(float(drawn.mean()), abs=5 * error)
    assert 5 * error < 0.05  # a term left out would be 0.5 or more


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


@pytest.mark.parametrize("kind", ["mse", "l1"])
@pytest.mark.parametrize(
    ("answer", "errors"),  # of a black, a grey and a white pixel
    [(-0.25, (0, 0.75, 1.25)), (1.25, (1.25, 0.75, 0)), (0.25, (0.25, 0.25, 0.75))],
)
def test_open_ends_forgive_only_what_clipping_mends(kind, answer, errors):
    vae = make_vae(reconstruction=kind, open_ends=True)
    torch.nn.init.constant_(vae.decoder.layers[-1].bias, 4 * (answer - 0.5))  # the tangent's slope
    for value, error in zip((0.0, 0.5, 1.0), errors, strict=True):
        x, eps = torch.full((2, 1, 32, 32), value), torch.zeros(2, 3, 8, 8)
        losses = vae_loss(vae, x, eps)
        power = 2 if kind == "mse" else 1
        assert float(losses["reconstruction"]) == pytest.approx(error**power, abs=1e-6)
        assert float(losses.get("mse", losses["reconstruction"])) == pytest.approx(
            error**2 if kind == "l1" else error**power, abs=1e-6
        )
    assert torch.equal(vae.decode(eps), torch.full_like(x, min(max(answer, 0.0), 1.0)))


def test_open_ends_and_shares_are_no_pair():
    with pytest.raises(ValueError, match="open_ends: true is not of reconstruction bce"):
        make_vae(reconstruction="bce", open_ends=True)


def make_vq(**changes):
    """Return a VQ-VAE whose decoder answers something, and images."""
    vae = make_vae(image_shape=(1, 16, 16), kind="vq", codebook_size=4, **changes)
    torch.nn.init.normal_(vae.decoder.layers[-1].weight)
    return vae, torch.rand(2, 1, 16, 16)


def test_the_gradient_goes_straight_through_the_codebook():
    vae, x = make_vq(commitment=0.0)
    found = {}
    vae.encoder.register_forward_hook(lambda _, __, z: found.update(z=z) or z.retain_grad())
    vae.decoder.register_forward_pre_hook(lambda _, z: found.update(e=z[0]) or z[0].retain_grad())
    vae_loss(vae.eval(), x, torch.zeros(4))["loss"].backward()
    torch.testing.assert_close(found["e"], vae.codebook.quantise(found["z"].detach()))
    assert torch.equal(found["z"].grad, found["e"].grad) and found["z"].grad.abs().max() > 0


def test_the_commitment_draws_the_encodings_to_their_entries():
    vae, x = make_vq(commitment=3.0)
    z = vae.encode(x)[0].detach()
    error = (z - vae.codebook.quantise(z)).square().mean()
    losses = vae.eval() and vae_loss(vae, x, torch.zeros(4))
    torch.testing.assert_close(losses["commitment"], error)
    torch.testing.assert_close(losses["loss"], losses["reconstruction"] + 3 * error)
    assert float(losses["kl"]) == pytest.approx(16 * math.log(4))
    assert 1 <= float(losses["perplexity"]) <= 4


def test_the_codebook_follows_in_training_alone():
    vae, x = make_vq()
    before = vae.codebook.entries.clone()
    vae_loss(vae.eval(), x, torch.zeros(4))
    assert torch.equal(vae.codebook.entries, before)
    vae_loss(vae.train(), x, draw_noise(vae, 2, torch.Generator()))
    assert not torch.equal(vae.codebook.entries, before)


def test_a_regularised_autoencoder_pays_for_its_code_and_its_decoder():
    vae = make_vae(kind="rae", decoder_penalty=0.25)
    x = torch.rand(2, 1, 32, 32)
    z, logvar = vae.encode(x)
    assert logvar.max() == -30  # as good as no noise
    losses = vae_loss(vae, x, draw_noise(vae, 2, torch.Generator()))
    size = z.square().sum((1, 2, 3)).mean() / 2
    weights = sum(p.square().sum() for p in vae.decoder.parameters())
    expected = losses["reconstruction"] + 0.5 * size + 0.25 * weights
    torch.testing.assert_close(losses["loss"], expected)


def test_without_its_reconstruction_a_vae_minimises_the_code_s_cost_alone():
    vae = make_vae(reconstruction_weight=0.0)
    torch.nn.init.normal_(vae.decoder.layers[-1].weight)
    x = torch.rand(2, 1, 32, 32)
    losses = vae_loss(vae, x, draw_noise(vae, 2, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(losses["loss"], 0.5 * losses["kl"])
    losses["loss"].backward()
    assert not any(p.grad.any() for p in vae.decoder.parameters())
    assert any(p.grad.any() for p in vae.encoder.parameters())
