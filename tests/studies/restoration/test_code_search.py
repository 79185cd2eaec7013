"""The search for codes climbs the density that it says it does."""

import pytest
import torch

from diffusevae.models.latent_mixture import Mixture
from diffusevae.studies.restoration.code_search import log_density, search_codes
from tests.support.toy_models import make_vae

WEIGHTS, MEANS = torch.tensor([0.3, 0.7]), torch.tensor([[0.0, 1.0], [2.0, -1.0]])
DEVIATIONS = torch.tensor([[1.0, 0.5], [0.3, 2.0]])


def test_the_density_is_that_of_the_mixture_up_to_a_constant():
    codes = torch.randn(5, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    diagonal = Mixture(WEIGHTS, MEANS, DEVIATIONS, (1, 1, 2))
    full = Mixture(WEIGHTS, MEANS, torch.diag_embed(DEVIATIONS), (1, 1, 2))
    exact = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(WEIGHTS),
        torch.distributions.Independent(torch.distributions.Normal(MEANS, DEVIATIONS), 1),
    ).log_prob(codes.flatten(1))
    for mixture in (diagonal, full):
        offset = log_density(mixture, codes) - exact
        torch.testing.assert_close(offset, offset[:1].expand(5))


@pytest.mark.parametrize("kind", ["gaussian", "vq"])
def test_a_searched_code_s_picture_is_nearer_to_what_is_known_and_seeds_are_not_needed(kind):
    vae = make_vae(kind=kind).requires_grad_(False)
    torch.nn.init.normal_(vae.decoder.layers[-1].weight, std=0.3)
    size = torch.tensor(vae.latent_shape).prod()
    mixture = Mixture(torch.ones(1), torch.zeros(1, size), torch.ones(1, size), vae.latent_shape)
    observed, start = torch.rand(2, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    known = torch.zeros(1, 32, 32)
    known[..., :16] = 1

    def search(num_steps: int) -> torch.Tensor:
        return search_codes(vae, mixture, observed, known, start, 0.05, num_steps, 0.1)

    before, after = (((search(n) - observed) * known).square().mean() for n in (0, 10))
    assert after < before
    assert torch.equal(search(2), search(2))
