"""The beta-VAE and its loss, by hand; its checkpoints."""

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.latents.models.beta_vae import (
    VectorVAE,
    VectorVAEConfig,
    beta_vae_loss,
    load_vector_vae,
    save_vector_vae,
)
from diffusevae.models.vae import VAE, VAEConfig, save_vae

STUDY = VectorVAEConfig(10, (32, 64), (), "bce", 4.0, "sum")


def test_the_study_s_architecture_has_its_number_of_parameters():
    """docs/study.md, B1, by hand: 4 x 4 convolutions with biases, and three linear layers."""
    encoder = (1 * 32 * 16 + 32) + (32 * 64 * 16 + 64) + 2 * (4096 * 10 + 10)
    decoder = (10 * 4096 + 4096) + (64 * 32 * 16 + 32) + (32 * 1 * 16 + 1)
    model = VectorVAE(STUDY, (1, 32, 32))
    assert sum(p.numel() for p in model.parameters()) == encoder + decoder == 193_685


def test_the_loss_is_the_sum_of_the_cross_entropy_and_beta_kl():
    torch.manual_seed(0)
    model = VectorVAE(STUDY, (1, 32, 32))
    x, eps = torch.rand(3, 1, 32, 32), torch.randn(3, 10)
    mu, logvar = model.encode(x)
    z = mu + (0.5 * logvar).exp() * eps
    p = model.decode(z).double()
    entropy = -(x * p.log() + (1 - x) * (1 - p).log()).sum()
    kl = (0.5 * (mu**2 + logvar.exp() - 1 - logvar)).sum()
    found = beta_vae_loss(model, x, eps)
    torch.testing.assert_close(found["loss"].double(), entropy + 4 * kl.double(), rtol=1e-5, atol=0)
    mean = VectorVAE(VectorVAEConfig(10, (32, 64), (), "bce", 4.0, "mean"), (1, 32, 32))
    mean.load_state_dict(model.state_dict())
    torch.testing.assert_close(beta_vae_loss(mean, x, eps)["loss"], found["loss"] / 3)


def test_a_spectrum_goes_in_and_out():
    config = VectorVAEConfig(3, (4, 8), (16,), "mse", 1.0, "mean")
    model = VectorVAE(config, (1, 1000))
    assert model.reconstruct(torch.rand(2, 1, 1000)).shape == (2, 1, 1000)


def test_a_length_that_cannot_be_halved_is_one_clear_line():
    with pytest.raises(InputError, match=r"channels \[4, 4\]: 30 x 30 cannot be halved 2 times"):
        VectorVAE(VectorVAEConfig(3, (4, 4), (), "mse", 1.0, "mean"), (1, 30, 30))


def test_a_checkpoint_comes_back_and_another_kind_is_refused(tmp_path):
    model = VectorVAE(STUDY, (1, 32, 32))
    save_vector_vae(tmp_path / "m.safetensors", model)
    again = load_vector_vae(tmp_path / "m.safetensors")
    assert again.config == STUDY and again.shape == (1, 32, 32)
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(again.reconstruct(x), model.reconstruct(x))
    save_vae(
        tmp_path / "v.safetensors", VAE(VAEConfig(4, 8, (1, 2), (), 0.0, "mse", 1e-5), (1, 8, 8))
    )
    with pytest.raises(InputError, match="no model with a vector of latents"):
        load_vector_vae(tmp_path / "v.safetensors")
