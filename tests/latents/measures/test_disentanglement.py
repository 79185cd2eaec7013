"""The three scores on representations whose score is known by construction."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from torch import Tensor

from diffusevae.latents.measures.disentanglement import (
    disentanglement_completeness,
    entropies,
    factor_vae_score,
    importances,
    information_by_quadrature,
    information_by_sampling,
    mutual_information_gap,
    varied,
)

COUNTS = (3, 4, 4, 5)  # values of four independent factors
GRID = torch.cartesian_prod(*(torch.arange(count) for count in COUNTS)).repeat(20, 1)  # 4,800
SHARP = math.log(0.02**2)  # logvar of codes that tell whole numbers apart


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=seeded())


def rotated() -> Tensor:
    """Return the factors with the second and third, both of 4 values, turned by 45 degrees."""
    codes = GRID.float().clone()
    codes[:, 1] = (GRID[:, 1] + GRID[:, 2]) / 2**0.5
    codes[:, 2] = (GRID[:, 1] - GRID[:, 2]) / 2**0.5
    return codes


def information(codes: Tensor, logvar: float = SHARP) -> Tensor:
    return information_by_quadrature(codes, torch.full_like(codes, logvar), GRID)


def test_entropies_of_known_distributions():
    assert entropies(GRID).tolist() == pytest.approx([math.log(count) for count in COUNTS])
    skewed = torch.tensor([[0], [0], [0], [1]])
    assert entropies(skewed).item() == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


def test_the_factors_themselves_are_known_wholly_and_apart():
    found = information(GRID.float())
    assert torch.allclose(found, torch.diag(entropies(GRID)), atol=1e-4)
    assert mutual_information_gap(found, GRID) == pytest.approx(1, abs=1e-4)


def test_mig_does_not_mind_order_sign_scale_and_noise_beside():
    codes = torch.cat([-GRID.flip(1) * 3.0, noise(len(GRID), 2)], 1)
    logvar = torch.full_like(codes, SHARP)
    logvar[:, -2:] = 0
    found = information_by_quadrature(codes, logvar, GRID)
    assert mutual_information_gap(found, GRID) == pytest.approx(1, abs=0.01)


def test_a_code_that_says_nothing_has_no_information():
    found = information_by_quadrature(torch.zeros(len(GRID), 3), torch.zeros(len(GRID), 3), GRID)
    assert found.abs().max() < 1e-5
    assert mutual_information_gap(found, GRID) == pytest.approx(0, abs=1e-5)


def test_a_duplicated_code_has_no_gap():
    """Of four factors three have one latent each, the first has two: (0 + 1 + 1 + 1) / 4."""
    found = information(torch.cat([GRID, GRID[:, :1]], 1).float())
    assert mutual_information_gap(found, GRID) == pytest.approx(0.75, abs=1e-4)


def test_a_rotation_by_45_degrees_has_no_gap():
    """The two turned factors are known equally by both latents: (1 + 0 + 0 + 1) / 4."""
    found = information(rotated())
    assert found[1, 1] == pytest.approx(found[2, 1].item(), abs=1e-4) and found[1, 1] > 0.1
    assert mutual_information_gap(found, GRID) == pytest.approx(0.5, abs=1e-4)


def test_mig_by_hand():
    """H = ln 3, ln 4; gaps 0.5 and 0.2. A factor of one value has no part in it."""
    factors = torch.cartesian_prod(torch.arange(3), torch.arange(1), torch.arange(4))
    known = torch.tensor([[0.9, 9.0, 0.1], [0.4, 0.0, 0.3], [0.1, 0.0, 0.0]])
    assert varied(factors) == [0, 2]
    expected = (0.5 / math.log(3) + 0.2 / math.log(4)) / 2
    assert mutual_information_gap(known, factors) == pytest.approx(expected)


@pytest.mark.parametrize("distance", [0.5, 1.0, 3.0])
def test_information_of_a_noisy_binary_channel(distance):
    """I = h(half N(-d, 1) and half N(d, 1)) - h(N(0, 1)), by scipy's integration."""
    factors = torch.arange(2).repeat(100)[:, None]
    mu = distance * (2.0 * factors - 1)

    def integrand(z: float) -> float:
        density = 0.5 * (norm.pdf(z, -distance) + norm.pdf(z, distance))
        return -density * math.log(density)

    expected = quad(integrand, -distance - 8, distance + 8)[0] - norm.entropy()
    by_grid = information_by_quadrature(mu, torch.zeros_like(mu), factors).item()
    by_count = information_by_sampling(mu, torch.zeros_like(mu), factors, seeded(), 2000).item()
    assert by_grid == pytest.approx(expected, abs=1e-3)
    assert by_count == pytest.approx(expected, abs=0.01)


def test_both_estimators_of_mig_agree_within_a_hundredth():
    """On codes like a trained model's: mixed, of different widths, one without a say."""
    mix = torch.eye(4, 6) + 0.2 * noise(4, 6)
    mu = (GRID / torch.tensor(COUNTS) - 0.5) * 3 @ mix
    logvar = torch.linspace(-5, 0, 6) + 0.3 * noise(len(GRID), 6)
    mu[:, 5] = 0
    scores = [
        mutual_information_gap(found, GRID)
        for found in (
            information_by_quadrature(mu, logvar, GRID),
            information_by_quadrature(mu, logvar, GRID, 3.0),
            information_by_sampling(mu, logvar, GRID, seeded()),
        )
    ]
    assert 0.1 < scores[0] < 0.9
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert scores[2] == pytest.approx(scores[0], abs=0.01)


def test_both_estimators_agree_where_some_codes_are_hundreds_of_times_sharper():
    """As after training to a high capacity: bins as narrow as the sharpest would be empty."""
    mu = (GRID / torch.tensor(COUNTS) - 0.5) * 3 + 0.3 * noise(len(GRID), 4)
    logvar = -11 * torch.rand(len(GRID), 4, generator=seeded())
    by_grid = information_by_quadrature(mu, logvar, GRID)
    by_count = information_by_sampling(mu, logvar, GRID, seeded(), 200)
    torch.testing.assert_close(by_count, by_grid, atol=0.03, rtol=0)
    gaps = [mutual_information_gap(found, GRID) for found in (by_grid, by_count)]
    assert gaps[1] == pytest.approx(gaps[0], abs=0.01)


def test_disentanglement_and_completeness_by_hand():
    assert disentanglement_completeness(np.eye(4)) == pytest.approx((1, 1))
    assert disentanglement_completeness(np.ones((4, 3))) == pytest.approx((0, 0))
    assert disentanglement_completeness(np.zeros((4, 3))) == (0, 0)
    # The second factor needs two of three latents: 1 - ln 2 / ln 3 of completeness.
    split = np.array([[1, 0], [0, 0.5], [0, 0.5]])
    expected = (1, (1 + 1 - math.log(2) / math.log(3)) / 2)
    assert disentanglement_completeness(split) == pytest.approx(expected)
    # Two of five factors turned into each other: their two latents, 2/5 of the weight, serve two.
    turned = np.eye(5)
    turned[1:3, 1:3] = 0.5
    expected = (3 + 2 * (1 - math.log(2) / math.log(5))) / 5
    assert disentanglement_completeness(turned) == pytest.approx((expected, expected))
    # A latent that serves all, weighed by how little it matters: 1 of 5 parts.
    weak = np.array([[4, 0.5], [0, 0.5]])
    share = np.array([4 / 4.5, 0.5 / 4.5])
    first = 1 + (share * np.log2(share)).sum()
    assert disentanglement_completeness(weak)[0] == pytest.approx((first * 4.5 + 0.5) / 5)


def score_dci(codes: Tensor) -> tuple[float, float, np.ndarray]:
    order = torch.randperm(len(codes), generator=seeded())  # halves alike
    targets = [column[:, None].double() for column in GRID[order].T]
    importance, told = importances(codes[order], targets, 0)
    return *disentanglement_completeness(importance), told


def test_dci_of_the_factors_themselves_is_one():
    disentangled, complete, told = score_dci(torch.cat([GRID.flip(1) * 2.0, noise(4800, 2)], 1))
    assert min(disentangled, complete, *told) > 0.99


def test_dci_of_a_rotation_is_that_of_equal_importances():
    """1 - ln 2 / ln 4 = 1/2 for two of four latents; all factors can still be told."""
    disentangled, complete, told = score_dci(rotated())
    assert disentangled == pytest.approx(0.75, abs=0.04)
    assert complete == pytest.approx(0.75, abs=0.04)
    assert told.min() > 0.95


def test_dci_of_noise_tells_nothing():
    disentangled, _, told = score_dci(noise(len(GRID), 4))
    assert disentangled < 0.05 and told.max() < 0.02


def test_dci_of_targets_of_several_numbers():
    """A forest gives a point on a circle one row of importances, and R^2 over both numbers."""
    angle = 2 * math.pi * torch.rand(2000, 1, generator=seeded(), dtype=torch.float64)
    importance, told = importances(angle.float(), [torch.cat([angle.cos(), angle.sin()], 1)], 0)
    assert importance.tolist() == [[1.0]] and told[0] > 0.99


def score_votes(codes: Tensor) -> float:
    return factor_vae_score(codes, GRID, seeded(), images=32)


def test_factor_vae_score_of_the_factors_themselves_is_one():
    assert score_votes(GRID.float()) == 1
    assert score_votes(-3 * GRID.flip(1).float()) == 1
    assert score_votes(torch.cat([GRID, GRID], 1).float()) == 1  # a duplicate does no harm here


def test_latents_without_variance_have_no_vote():
    """Scaled to variance 1, a collapsed latent is noise and would win now and then; a constant
    has no scale."""
    collapsed = torch.cat([GRID, 1e-3 * noise(len(GRID), 3), torch.zeros(len(GRID), 1)], 1)
    assert score_votes(collapsed) == 1
    assert score_votes(torch.zeros(len(GRID), 4)) == 0.25


def test_factor_vae_score_of_a_rotation():
    """Fixing one of the two turned factors halves the variance of both their latents: which of
    the two it was is a guess, the other two are seen: (1 + 1/2 + 1/2 + 1) / 4."""
    assert score_votes(rotated()) == pytest.approx(0.75, abs=0.04)


def test_factor_vae_score_of_noise_is_chance():
    assert score_votes(noise(len(GRID), 6)) == pytest.approx(0.25, abs=0.05)


def test_a_factor_of_one_value_is_left_out():
    factors = torch.cat([GRID[:, :2], torch.zeros(len(GRID), 1, dtype=torch.long)], 1)
    assert factor_vae_score(GRID[:, :2].float(), factors, seeded()) == 1
    assert factor_vae_score(torch.zeros(len(GRID), 2), factors, seeded()) == 0.5
