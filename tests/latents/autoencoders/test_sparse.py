"""The sparse autoencoder's loss by hand, and that a penalty makes codes sparse."""

import pytest
import torch

from diffusevae.core.randomness import generator
from diffusevae.latents.autoencoders.networks import NetworkConfig, train_with_loss
from diffusevae.latents.autoencoders.part import Data
from diffusevae.latents.autoencoders.sparse import SparseConfig, make_sparse_loss, sparse_code
from diffusevae.latents.models.autoencoder import apply
from diffusevae.latents.models.beta_vae import VectorVAE, VectorVAEConfig
from diffusevae.training.loop import Callbacks, OptimiserConfig

NETWORK = NetworkConfig((), (), 20, OptimiserConfig(5e-3, "none", 16, 1e6, 0.0))


def test_the_loss_adds_lambda_times_the_sum_of_the_code_s_sizes():
    torch.manual_seed(0)
    model = VectorVAE(VectorVAEConfig(3, (), (), "mse", 0.0, "mean"), (1, 2, 2))
    x = torch.rand(5, 1, 2, 2)
    code = model.to_mu(x.flatten(1)).clamp_min(0)
    assert torch.equal(sparse_code(model, x), code) and (code == 0).any()
    error = ((torch.sigmoid(model.decoder(code)) - x) ** 2).flatten(1).sum(1)
    expected = (error + 0.7 * code.sum(1)).mean()
    assert make_sparse_loss(0.7)(model, x, None)["loss"].item() == pytest.approx(expected.item())


def test_a_penalty_makes_the_code_sparser_and_the_error_larger():
    images = (255 * torch.rand(64, 1, 4, 4, generator=generator(0)) ** 3).byte()
    data = Data("toy", images, images, images, torch.zeros(64, dtype=torch.long), 0)

    def train(name, facts, fit):
        return fit(Callbacks(), None)[0]

    shares = []
    for penalty in (0.0, 5.0):
        model = train_with_loss("sparse", {}, NETWORK, make_sparse_loss(penalty), 8, data, 0, train)
        code = apply(lambda x, model=model: sparse_code(model, x), images)
        shares.append(float((code < 0.01).float().mean()))
    assert shares[1] > shares[0] + 0.2


@pytest.mark.parametrize("penalties", [(0.0,), (1.0, 0.0), (1.0, 1.0)])
def test_penalties_must_rise(penalties):
    with pytest.raises(ValueError, match="two or more, rising"):
        SparseConfig(8, penalties, 0)
