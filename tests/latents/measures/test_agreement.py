"""Agreement of orders that are equal, opposite, tied or random."""

import numpy as np
import pytest

from diffusevae.latents.measures.agreement import (
    chance_of_concordance,
    concordance,
    match_latents,
    rank,
)


def test_kendall_s_w_of_equal_opposite_and_tied_orders():
    order = np.arange(6.0)
    assert concordance(np.stack([order, 2 * order, order**3])) == pytest.approx(1)
    assert concordance(np.stack([order, -order])) == pytest.approx(0)
    # Two judges: W = (1 + Spearman's rho) / 2, with ties too.
    from scipy.stats import spearmanr

    one, two = np.array([1.0, 2, 2, 4, 5]), np.array([2.0, 1, 3, 3, 5])
    expected = (1 + spearmanr(one, two).statistic) / 2
    assert concordance(np.stack([one, two])) == pytest.approx(expected, abs=0.01)


def test_the_permutation_test_knows_agreement_from_chance():
    rng = np.random.default_rng(1)
    assert chance_of_concordance(np.tile(np.arange(8.0), (4, 1)), 0) < 0.001
    # Of two orders of two things, all agree or none does: half of the shuffles agree.
    assert chance_of_concordance(np.array([[0.0, 1], [0, 1]]), 0) == pytest.approx(0.5, abs=0.03)
    assert chance_of_concordance(rng.standard_normal((3, 8)), 0) > 0.01


def test_latents_are_matched_whatever_their_order_and_sign():
    codes = np.random.default_rng(2).standard_normal((500, 4))
    codes[:, 3] = 0
    columns, likeness = match_latents(codes, -3 * codes[:, [2, 0, 3, 1]])
    assert columns.tolist()[:3] == [1, 3, 0]
    np.testing.assert_allclose(likeness, [1, 1, 1, 0], atol=1e-9)


def test_ranks_count_from_the_largest():
    assert rank([0.1, 5.0, 2.0]).tolist() == [3, 1, 2]
