"""Densities of mixtures against scikit-learn's, and the size that held-out codes choose."""

import pytest
import torch
from sklearn.mixture import GaussianMixture

from diffusevae.models.latent_mixture import MixtureConfig
from diffusevae.models.mixture_fitting import fit_mixture
from diffusevae.studies.priors.mixture_sizes import choose_mixture, measure_log_density


def three_clusters(count: int, seed: int) -> torch.Tensor:
    """Return codes count x 2 x 1 x 1 about three places."""
    rng = torch.Generator().manual_seed(seed)
    places = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    codes = places[torch.arange(count) % 3] + torch.randn(count, 2, generator=rng)
    return codes[:, :, None, None]


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_the_density_is_that_of_scikit_learn(covariance):
    codes = three_clusters(90, 0)
    mixture = fit_mixture(MixtureConfig(3, covariance, 30), codes, 0)
    reference = GaussianMixture(
        3, covariance_type=covariance, max_iter=30, reg_covar=1e-4, tol=1e-2, random_state=0
    ).fit(codes.flatten(1).double().numpy())
    expected = reference.score_samples(codes.flatten(1).double().numpy())
    found = measure_log_density(mixture, codes).numpy()
    assert found == pytest.approx(expected, abs=1e-3)


def test_held_out_codes_choose_as_many_gaussians_as_there_are():
    codes, held_out = three_clusters(90, 0), three_clusters(90, 1)
    config = MixtureConfig(1, "full", 50)
    mixture, table = choose_mixture(config, (1, 3, 40), codes, held_out, 0)
    assert len(mixture.weights) == 3
    assert list(table["num_components"]) == [1, 3, 40]
    last = table.iloc[-1]
    assert last["train"] > table["train"].iloc[1] and last["train"] > last["validation"] + 0.5
