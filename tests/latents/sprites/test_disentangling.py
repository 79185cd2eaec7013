"""The four objectives against their formulas, and a FactorVAE that is stopped and goes on."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

import diffusevae.training.checkpointer
from diffusevae.latents.models.beta_vae import VectorVAE, VectorVAEConfig, beta_vae_loss
from diffusevae.latents.sprites.disentangling import (
    Adversary,
    ObjectivesConfig,
    capacity,
    capacity_penalty,
    code,
    draw_orders,
    fit_disentangling,
    log_densities,
    objective_losses,
    total_correlation,
)
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.loop import Callbacks, OptimiserConfig

VAE = VectorVAEConfig(3, (), (8,), "bce", 4.0, "mean")
CONFIG = ObjectivesConfig(10.0, 8.0, 0.5, 6.0, (16,), 5.0)
OPTIMISER = OptimiserConfig(1e-3, "cosine", 4, 1e6, 0.9)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def correlated(rho: float, count: int) -> Tensor:
    z = torch.randn(count, 2, generator=seeded())
    return torch.stack([z[:, 0], rho * z[:, 0] + math.sqrt(1 - rho**2) * z[:, 1]], 1)


def permute_codes(z: Tensor, rng: torch.Generator) -> Tensor:
    return z.gather(0, draw_orders(*z.shape, rng))


@pytest.fixture
def batch() -> tuple[VectorVAE, Tensor, Tensor]:
    torch.manual_seed(0)
    return VectorVAE(VAE, (1, 4, 4)), torch.rand(6, 1, 4, 4), torch.randn(6, 3)


def losses(objective: str, batch, done: float = 1.0, **changes: float) -> dict[str, float]:
    model, x, eps = batch
    config = dataclasses.replace(CONFIG, **changes)
    given = Adversary(model, config.discriminator) if objective == "factor_vae" else model
    reached = torch.tensor(capacity(config, done))
    orders = draw_orders(len(x), VAE.latents, seeded())
    found = objective_losses(objective, config, given, code(model, x, eps), 100, reached, orders)
    return {name: value.item() for name, value in found.items()}


def test_capacity_grows_linearly_and_stays():
    """gamma = 10; C goes from 0 to 8 in the first half of the steps."""
    for done, expected in ((0, 50), (0.25, 10), (0.5, 30), (1, 30)):
        penalty = capacity_penalty(torch.tensor(5.0), CONFIG, torch.tensor(capacity(CONFIG, done)))
        assert penalty.item() == pytest.approx(expected)


def test_the_beta_vae_is_the_one_everybody_uses(batch):
    expected = {name: value.item() for name, value in beta_vae_loss(*batch).items()}
    assert losses("beta_vae", batch) == pytest.approx(expected)


def test_a_pixel_counts_as_often_as_it_is_told(batch):
    once, four = code(*batch), code(*batch, 4.0)
    assert four.reconstruction.item() == pytest.approx(4 * once.reconstruction.item())
    assert four.kl.item() == pytest.approx(once.kl.item())


def test_every_objective_is_the_bound_plus_what_it_adds(batch):
    """With weight 0 (or beta 1) all are the VAE; with capacity 0 the annealed one is a beta-VAE."""
    parts = losses("beta_vae", batch)
    bound = parts["reconstruction"] + parts["kl"]
    assert losses("beta_tcvae", batch, tc_beta=1.0)["loss"] == pytest.approx(bound)
    factor = losses("factor_vae", batch, tc_gamma=0.0)
    assert factor["loss"] == pytest.approx(bound + factor["discriminator"])
    annealed = losses("annealed_capacity", batch, capacity=0.0, gamma=4.0)
    assert annealed["loss"] == pytest.approx(parts["loss"])
    tcvae = losses("beta_tcvae", batch)
    assert tcvae["loss"] == pytest.approx(bound + 4 * tcvae["tc"])
    factor = losses("factor_vae", batch)
    assert factor["loss"] == pytest.approx(bound + 6 * factor["tc"] + factor["discriminator"])


def test_densities_are_those_of_torch():
    z, mu, logvar = (torch.randn(n, 3, generator=seeded(n)) for n in (4, 5, 5))
    expected = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z[:, None])
    torch.testing.assert_close(log_densities(z, mu, logvar), expected)


def test_total_correlation_is_the_formula_written_out():
    """log q(z_i) = log sum_k q(z_i|x_k) - log(B N), and so for every latent."""
    z, mu, logvar = (torch.randn(4, 3, generator=seeded(n)).double() for n in range(3))
    q = Normal(mu, torch.exp(0.5 * logvar)).log_prob(z[:, None]).exp()  # i x k x latent
    expected = 0.0
    for i in range(4):
        expected += math.log(sum(q[i, k].prod() for k in range(4)) / (4 * 50)) / 4
        for j in range(3):
            expected -= math.log(q[i, :, j].sum() / (4 * 50)) / 4
    assert total_correlation(z, mu, logvar, 50).item() == pytest.approx(expected)


def test_total_correlation_grows_as_a_normal_distribution_s_does():
    """That of two normal numbers is -ln(1 - rho^2) / 2; the codes' own width lessens rho."""
    width = 0.2
    logvar = torch.full((2000, 2), math.log(width**2))
    found = {}
    for rho in (0.0, 0.9):
        mu = correlated(rho, 2000)
        z = mu + width * torch.randn(2000, 2, generator=seeded(1))
        found[rho] = total_correlation(z, mu, logvar, 2000).item()
    seen = 0.9 / (1 + width**2)
    assert found[0.9] - found[0.0] == pytest.approx(-0.5 * math.log(1 - seen**2), abs=0.06)


def test_permuting_keeps_each_latent_and_breaks_their_ties():
    z = correlated(0.95, 4000)
    mixed = permute_codes(z, seeded())
    assert torch.equal(mixed.sort(0).values, z.sort(0).values)
    assert abs(torch.corrcoef(mixed.T)[0, 1]) < 0.05
    assert torch.equal(mixed, permute_codes(z, seeded()))


def test_the_discriminator_and_the_vae_do_not_learn_from_each_other_s_loss(batch):
    adversary = Adversary(batch[0], (16,))
    z = torch.randn(6, 3, requires_grad=True)
    adversary.total_correlation(z).backward()
    assert z.grad.abs().sum() > 0
    assert all(p.grad is None for p in adversary.discriminator.parameters())
    z.grad = None
    adversary.discriminator_loss(z, permute_codes(z, seeded())).backward()
    assert z.grad is None
    assert all(p.grad is not None for p in adversary.discriminator.parameters())


def test_the_discriminator_by_hand(batch):
    """One linear layer D = sigmoid(w z + b): log D / (1 - D) = w z + b; undecided costs ln 2."""
    adversary = Adversary(batch[0], ())
    (layer,) = adversary.discriminator
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
        layer.bias.fill_(0.25)
    z = torch.tensor([[1.0, 1.0, 2.0], [3.0, 0.0, 1.0]])
    assert adversary.total_correlation(z).item() == pytest.approx((0.25 + 3.75) / 2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    assert adversary.discriminator_loss(z, z).item() == pytest.approx(math.log(2))


def test_a_trained_discriminator_knows_the_total_correlation(batch):
    """Of normal numbers with rho = 0.9: -ln(1 - 0.81) / 2 = 0.83."""
    torch.manual_seed(0)
    adversary = Adversary(VectorVAE(dataclasses.replace(VAE, latents=2), (1, 4, 4)), (64, 64))
    optimiser = torch.optim.Adam(adversary.discriminator.parameters(), 3e-3)
    z, rng = correlated(0.9, 20_000), seeded(1)
    for part in z.repeat(8, 1).split(500):
        optimiser.zero_grad()
        adversary.discriminator_loss(part, permute_codes(part, rng)).backward()
        optimiser.step()
    found = adversary.total_correlation(z).item()
    assert found == pytest.approx(-0.5 * math.log(1 - 0.9**2), abs=0.12)


def train(objective: str, checkpointer: Checkpointer | None, callbacks: Callbacks):
    images = torch.randint(256, (10, 1, 4, 4), dtype=torch.uint8, generator=seeded())
    return fit_disentangling(
        objective, CONFIG, VAE, OPTIMISER, images, images, 12, 0, 1.0, callbacks, checkpointer
    )


@pytest.mark.parametrize("objective", ["factor_vae", "annealed_capacity"])
def test_a_training_that_is_stopped_ends_with_the_same_bytes(tmp_path, monkeypatch, objective):
    monkeypatch.setattr(diffusevae.training.checkpointer, "SECONDS_BETWEEN", 0)
    batches = []

    def stop(epoch: int, done: int, total: int, epochs: int) -> None:
        batches.append(done)
        if done == 7:
            raise KeyboardInterrupt

    whole, row = train(objective, None, Callbacks())
    with pytest.raises(KeyboardInterrupt):
        train(objective, Checkpointer(tmp_path / "progress", print), Callbacks(on_batch=stop))
    rest: list[int] = []
    again, row_again = train(
        objective,
        Checkpointer(tmp_path / "progress", print),
        Callbacks(on_batch=lambda *place: rest.append(place[1])),
    )
    assert batches[-1] == 7 and rest[-1] == 12 and len(rest) < 12
    assert row == row_again
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not any(name.startswith("discriminator") for name in whole.state_dict())


def test_every_image_comes_up_equally_often(monkeypatch):
    """12 steps of 4 images are 48 views of 10 images: 4 or 5 of each."""
    seen = torch.zeros(10)
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 1, 4, 4)

    def count(model: VectorVAE, x: Tensor, eps: Tensor, pixel_weight: float):
        if model.training:
            seen.scatter_add_(0, (x[:, 0, 0, 0] * 255).round().long(), torch.ones(len(x)))
        return code(model, x, eps, pixel_weight)

    monkeypatch.setattr("diffusevae.latents.sprites.disentangling.code", count)
    fit_disentangling("beta_vae", CONFIG, VAE, OPTIMISER, images, images, 12, 0, 1.0, Callbacks())
    assert seen.sum() == 48 and set(seen.tolist()) == {4, 5}
