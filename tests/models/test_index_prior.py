"""The prior over indices: causal, a distribution, and it learns one."""

import itertools

import pytest
import torch

from diffusevae.models.index_prior import IndexPrior
from diffusevae.training.loop import Callbacks, Fit, fit
from tests.support.toy_trainings import make_optimiser


def make_prior() -> IndexPrior:
    torch.manual_seed(0)
    return IndexPrior(3, 4, 8).eval()


def test_an_index_depends_on_those_before_it_alone():
    prior, indices = make_prior(), torch.tensor([[0, 1, 2]])
    changed = torch.tensor([[0, 2, 2]])
    before, after = prior(indices), prior(changed)
    assert before.shape == (1, 4, 3)
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2:], after[:, 2:])


def test_the_probabilities_of_all_codes_sum_to_one():
    codes = torch.tensor(list(itertools.product(range(3), repeat=4)))
    prior = make_prior()
    with torch.no_grad():
        log_p = torch.stack([-4 * prior.losses(code[None])["loss"] for code in codes])
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-4)


def test_it_learns_the_codes_it_is_shown_and_draws_them_alone():
    shown = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 1]]).repeat(16, 1)
    task = Fit(
        lambda indices, epoch, batch, rows: (shown[indices[rows]],),
        IndexPrior.losses,
        lambda model: {"loss": float(model.losses(shown)["loss"].detach())},
        len(shown),
    )
    optimiser = make_optimiser(learning_rate=0.02, batch_size=8)
    prior, history = fit(make_prior(), optimiser, 20, 0, task, Callbacks())
    entropy = float(torch.log(torch.tensor(2.0))) / 4  # one bit for four indices
    assert history[-1]["validation_loss"] == pytest.approx(entropy, abs=0.02)
    drawn = prior.sample(40, torch.Generator().manual_seed(0))
    right = [(drawn == code).all(1) for code in shown[:2]]
    assert all(10 <= int(each.sum()) for each in right) and sum(map(sum, right)) >= 38
