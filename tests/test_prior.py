"""The Gaussian mixture over the codes."""

import pytest
import torch

from diffusevae.errors import InputError
from diffusevae.prior import Prior, PriorConfig, fit_prior, load_prior, save_prior
from diffusevae.randomness import generator


def two_clusters() -> torch.Tensor:
    """Codes 4000 x 2 x 1 x 1 around (-5, 0) with correlated spread, and around (5, 1)."""
    noise = torch.randn(2000, 2, generator=generator(0))
    left = torch.stack([noise[:, 0] - 5, 0.8 * noise[:, 0] + 0.6 * noise[:, 1]], dim=1)
    right = 0.1 * torch.randn(2000, 2, generator=generator(1)) + torch.tensor([5.0, 1.0])
    return torch.cat([left, right])[:, :, None, None]


def test_full_covariances_give_back_means_weights_and_correlation():
    prior = fit_prior(PriorConfig(2, "full", 100), two_clusters(), seed=0)
    z = prior.sample(20_000, generator(2))
    assert z.shape == (20_000, 2, 1, 1)
    z = z[:, :, 0, 0]
    left, right = z[z[:, 0] < 0], z[z[:, 0] > 0]
    assert len(left) / len(z) == pytest.approx(0.5, abs=0.02)
    assert left.mean(0).tolist() == pytest.approx([-5.0, 0.0], abs=0.1)
    assert right.mean(0).tolist() == pytest.approx([5.0, 1.0], abs=0.02)
    assert float(torch.corrcoef(left.T)[0, 1]) == pytest.approx(0.8, abs=0.03)


def test_diagonal_covariances_have_no_correlation():
    prior = fit_prior(PriorConfig(2, "diag", 100), two_clusters(), seed=0)
    z = prior.sample(20_000, generator(2))[:, :, 0, 0]
    assert abs(float(torch.corrcoef(z[z[:, 0] < 0].T)[0, 1])) < 0.05


def test_a_saved_prior_samples_the_same(tmp_path):
    prior = Prior(torch.tensor([0.3, 0.7]), torch.randn(2, 4), torch.rand(2, 4), (1, 2, 2))
    save_prior(tmp_path / "prior.safetensors", prior)
    loaded = load_prior(tmp_path / "prior.safetensors")
    assert torch.equal(loaded.sample(5, generator(0)), prior.sample(5, generator(0)))


def test_more_components_than_images_are_refused():
    with pytest.raises(InputError, match="num_components 5: only 3 images"):
        fit_prior(PriorConfig(5, "full", 10), torch.randn(3, 2, 1, 1), seed=0)
