"""The VAE: shapes, loss and what is frozen."""

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as kl_of_distributions

from diffusevae.core.errors import InputError
from diffusevae.models.vae import (
    VAE,
    kl_divergence,
    kl_of_latents,
    load_vae,
    reparameterise,
    save_vae,
    size_vae,
    vae_loss,
)
from tests.support.toy_models import make_vae


def test_latent_is_the_image_halved_between_levels():
    vae = make_vae()
    mu, logvar = vae.encode(torch.rand(2, 1, 32, 32))
    assert mu.shape == logvar.shape == (2, 3, 8, 8) == (2, *vae.latent_shape)
    assert vae.decode(mu).shape == (2, 1, 32, 32)


@pytest.mark.parametrize(("code", "levels"), [((1, 4, 4), 3), ((2, 8, 8), 2), ((3, 16, 16), 1)])
def test_a_vae_has_the_code_that_was_asked_for(code, levels):
    config = size_vae(make_vae(attention_levels=()).config, code, 16, (1, 1, 1), 1e-6, "compress")
    assert VAE(config, (1, 16, 16)).latent_shape == code
    assert len(config.channel_multipliers) == levels and config.kl_weight == 1e-6


@pytest.mark.parametrize("code", [(1, 5, 5), (1, 2, 2), (1, 32, 32)])
def test_a_code_to_which_nothing_leads_is_refused(code):
    with pytest.raises(InputError, match=r"compress.codes: \[1, .*do not come down to"):
        size_vae(make_vae(attention_levels=()).config, code, 16, (1, 1, 1), 1e-6, "compress")


def test_colour_and_other_sizes():
    vae = make_vae(image_shape=(3, 64, 64))
    assert vae.reconstruct(torch.rand(2, 3, 64, 64)).shape == (2, 3, 64, 64)


def test_an_untrained_decoder_answers_one_half():
    assert torch.equal(make_vae().decode(torch.randn(2, 3, 8, 8)), torch.full((2, 1, 32, 32), 0.5))


def test_logvar_is_clamped():
    vae = make_vae()
    torch.nn.init.constant_(vae.encoder.layers[-1].bias, 1e4)
    assert vae.encode(torch.rand(1, 1, 32, 32))[1].max() == 20
    torch.nn.init.constant_(vae.encoder.layers[-1].bias, -1e4)
    assert vae.encode(torch.rand(1, 1, 32, 32))[1].min() == -30


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


def test_a_saved_vae_comes_back_equal_and_frozen(tmp_path):
    vae = make_vae()
    torch.nn.init.normal_(vae.decoder.layers[-1].weight)
    save_vae(tmp_path / "vae.safetensors", vae)
    loaded = load_vae(tmp_path / "vae.safetensors")
    x = torch.rand(2, 1, 32, 32)
    # the memory layout differs, and with it the last digits
    torch.testing.assert_close(
        loaded.reconstruct(x), vae.eval().reconstruct(x), atol=1e-4, rtol=1e-4
    )
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
