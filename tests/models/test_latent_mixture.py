"""The Gaussian mixture over the codes."""

import os
import resource

import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.models.latent_mixture import Mixture, MixtureConfig, load_mixture, save_mixture
from diffusevae.models.mixture_fitting import fit_arrays, fit_mixture, fit_tensors


def two_clusters() -> torch.Tensor:
    """Codes 4000 x 2 x 1 x 1 around (-5, 0) with correlated spread, and around (5, 1)."""
    noise = torch.randn(2000, 2, generator=generator(0))
    left = torch.stack([noise[:, 0] - 5, 0.8 * noise[:, 0] + 0.6 * noise[:, 1]], dim=1)
    right = 0.1 * torch.randn(2000, 2, generator=generator(1)) + torch.tensor([5.0, 1.0])
    return torch.cat([left, right])[:, :, None, None]


def test_full_covariances_give_back_means_weights_and_correlation():
    mixture = fit_mixture(MixtureConfig(2, "full", 100), two_clusters(), seed=0)
    z = mixture.sample(20_000, generator(2))
    assert z.shape == (20_000, 2, 1, 1)
    z = z[:, :, 0, 0]
    left, right = z[z[:, 0] < 0], z[z[:, 0] > 0]
    assert len(left) / len(z) == pytest.approx(0.5, abs=0.02)
    assert left.mean(0).tolist() == pytest.approx([-5.0, 0.0], abs=0.1)
    assert right.mean(0).tolist() == pytest.approx([5.0, 1.0], abs=0.02)
    assert float(torch.corrcoef(left.T)[0, 1]) == pytest.approx(0.8, abs=0.03)


def test_diagonal_covariances_have_no_correlation():
    mixture = fit_mixture(MixtureConfig(2, "diag", 100), two_clusters(), seed=0)
    z = mixture.sample(20_000, generator(2))[:, :, 0, 0]
    assert abs(float(torch.corrcoef(z[z[:, 0] < 0].T)[0, 1])) < 0.05


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_variance_is_added_to_that_of_every_number(covariance):
    config, codes = MixtureConfig(1, covariance, 10, added_variance=0.5), two_clusters()
    factors = fit_mixture(config, codes, seed=0).factors[0]
    found = (factors @ factors.T).diagonal() if covariance == "full" else factors.square()
    expected = codes.flatten(1).var(0, correction=0) + 0.5  # of one Gaussian, in closed form
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_a_saved_prior_samples_the_same(tmp_path):
    mixture = Mixture(torch.tensor([0.3, 0.7]), torch.randn(2, 4), torch.rand(2, 4), (1, 2, 2))
    save_mixture(tmp_path / "prior.safetensors", mixture)
    loaded = load_mixture(tmp_path / "prior.safetensors")
    assert torch.equal(loaded.sample(5, generator(0)), mixture.sample(5, generator(0)))


def test_each_class_has_gaussians_of_its_own_and_its_share_of_the_codes(tmp_path):
    codes = two_clusters()[:3000]  # 2,000 of the left class, 1,000 of the right one
    labels = torch.cat([torch.zeros(2000), torch.ones(1000)]).long()
    config = MixtureConfig(3, "full", 100, per_class=True)
    save_mixture(tmp_path / "prior", fit_mixture(config, codes, 0, labels))
    mixture = load_mixture(tmp_path / "prior")
    assert mixture.classes.tolist() == [0, 0, 1] and mixture.num_classes == 2
    drawn = mixture.draw_labels(6000, generator(3))
    assert float(drawn.float().mean()) == pytest.approx(1 / 3, abs=0.02)
    wanted = torch.arange(2000) % 2
    z = mixture.sample(2000, generator(2), wanted)[:, 0, 0, 0]
    assert ((z > 2) == (wanted == 1)).all()
    either = mixture.sample(6000, generator(4))[:, 0, 0, 0]
    assert float((either > 2).float().mean()) == pytest.approx(1 / 3, abs=0.02)


def test_classes_that_a_density_does_not_know_are_one_line():
    plain = fit_mixture(MixtureConfig(2, "diag", 5), two_clusters(), 0)
    assert plain.draw_labels(3, generator(0)) is None
    with pytest.raises(InputError, match="^labels: the density of this model's codes knows no cl"):
        plain.sample(1, generator(0), torch.tensor([0]))
    labels = torch.arange(4000) // 2000
    told = fit_mixture(MixtureConfig(2, "diag", 5, per_class=True), two_clusters(), 0, labels)
    with pytest.raises(InputError, match="^labels 2: the classes are 0 to 1$"):
        told.sample(1, generator(0), torch.tensor([2]))


def test_more_components_than_images_are_refused():
    with pytest.raises(InputError, match="num_components 5: only 3 images"):
        fit_mixture(MixtureConfig(5, "full", 10), torch.randn(3, 2, 1, 1), seed=0)


def test_many_large_codes_take_no_memory_for_covariances():
    """A covariance for each of 10,000 codes of 512 numbers would be 10 GB."""
    factors = torch.eye(512).tril() + 0.01 * torch.ones(512, 512).tril()
    mixture = Mixture(
        torch.full((3,), 1 / 3), torch.zeros(3, 512), factors.repeat(3, 1, 1), (8, 8, 8)
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    z = mixture.sample(10_000, generator(0))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB
    variances = z.flatten(1).var(0)
    torch.testing.assert_close(variances, factors.square().sum(1), rtol=0.1, atol=0)


def test_full_covariances_are_as_likely_as_in_float64():
    """More numbers than codes, far apart: float32 loses the small variances, and all is refused."""
    mu = 300 * torch.randn(40, 64, 1, 1, generator=generator(3))
    mixture = fit_mixture(MixtureConfig(2, "full", 50), mu, seed=0)
    codes = mu.flatten(1).double()
    expected = (
        GaussianMixture(2, max_iter=50, reg_covar=1e-4, random_state=0, tol=1e-2)
        .fit(codes.numpy())
        .score(codes.numpy())
    )
    parts = torch.distributions.MultivariateNormal(
        mixture.means.double(), scale_tril=mixture.factors.double()
    )
    density = parts.log_prob(codes[:, None]) + mixture.weights.double().log()
    assert float(density.logsumexp(1).mean()) == pytest.approx(expected, rel=1e-3)


def test_codes_without_a_covariance_are_one_line():
    mu = 1e9 * torch.randn(40, 64, 1, 1, generator=generator(3))
    with pytest.raises(InputError, match="prior.covariance: full: .* use diag"):
        fit_mixture(MixtureConfig(2, "full", 50), mu, seed=0)


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_what_a_gpu_fits_is_what_the_cpu_does(covariance):
    """Both start from one k-means; the way of the tensors runs here on the CPU's."""
    codes = torch.randn(600, 8, generator=generator(4)).double() ** 3
    config = MixtureConfig(5, covariance, 30, added_variance=1e-3)
    for expected, found in zip(
        fit_arrays(config, codes, 0), fit_tensors(config, codes, 0), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_a_gpu_fits_fewer_different_codes_than_components(monkeypatch):
    """K-means leaves a cluster empty; and what is set for scipy stays as it was."""
    monkeypatch.delenv("SCIPY_ARRAY_API", raising=False)
    codes = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double().repeat(10, 1)
    with pytest.warns(ConvergenceWarning):
        moments = fit_tensors(MixtureConfig(3, "full", 5), codes, 0)
    assert all(values.isfinite().all() for values in moments)
    assert "SCIPY_ARRAY_API" not in os.environ


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_codes_on_a_gpu_are_fitted_there():
    config = MixtureConfig(2, "full", 100)
    expected = fit_mixture(config, two_clusters(), seed=0)
    found = fit_mixture(config, two_clusters().cuda(), seed=0)
    torch.testing.assert_close(found.means, expected.means)
    torch.testing.assert_close(found.factors, expected.factors)
