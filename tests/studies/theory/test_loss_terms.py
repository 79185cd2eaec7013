"""The three losses, and what the codes of a VAE are judged by."""

import numpy as np
import torch

from diffusevae.data.dataset import Split
from diffusevae.models.vae import VAE
from diffusevae.studies.theory.loss_terms import SIDE, list_losses, measure_codes, shrink
from tests.support.toy_models import make_vae

CONFIGS = list_losses(make_vae().config, 0.01)
LABELS = torch.arange(60) % 2


def make_split() -> Split:
    """Return images of two classes, dark ones and bright ones."""
    images = (40 + 150 * LABELS).byte()[:, None, None, None].expand(-1, 1, 32, 32)
    return Split(images.contiguous(), LABELS, torch.arange(60))


class Noisy(VAE):
    """Its codes tell the classes by far less than their noise, which is that of the prior."""

    def encode(self, x):
        mu = 1e-3 * (x.mean((1, 2, 3)) > 0.4)[:, None, None, None].expand(-1, 2, 1, 1)
        return mu, torch.zeros_like(mu)


def test_each_loss_has_the_terms_that_it_is_named_for():
    weights = {name: (c.reconstruction_weight, c.kl_weight) for name, c in CONFIGS.items()}
    assert weights == {"reconstruction": (1, 0), "KL": (0, 1), "both": (1, 0.01)}
    assert all(VAE(c, (1, SIDE, SIDE)).latent_shape == (2, 1, 1) for c in CONFIGS.values())


def test_images_of_any_size_become_small_ones():
    small = shrink(make_split(), 10)
    assert small.images.shape == (10, 1, SIDE, SIDE) and len(small) == 10
    assert torch.equal(small.images[:2, 0, 3, 3], torch.tensor([40, 190], dtype=torch.uint8))


def test_a_class_that_drowns_in_the_code_s_noise_is_not_recognised():
    torch.manual_seed(0)
    vae = Noisy(CONFIGS["KL"], (1, SIDE, SIDE)).eval()
    row, (z, labels) = measure_codes(vae, shrink(make_split()), 0, 50)
    assert row["mu_recognised"] == 1 and row["recognised"] < 0.7
    assert z.shape == (60, 2) and np.array_equal(labels, LABELS.numpy())
    assert row["distance_low"] == 0 and row["distance"] < 0.5  # z is N(0, I) but for 1e-3
    assert 0 <= row["kl"] < 1e-5 and row["mse"] > 0
