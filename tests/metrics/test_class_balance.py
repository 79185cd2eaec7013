"""Classes that generated images leave out: named where it is so, seldom where it is not."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from diffusevae.metrics.class_balance import (
    ALARM_RATE,
    MISSED_SHARE,
    compare_classes,
    count_classes,
    describe_missed,
    find_missed,
    measure_agreement,
)

CPU = torch.device("cpu")
NUM = 20_000  # draws of a simulation


class Brightness(nn.Module):
    """Takes an image for the class k of 4 whose brightness (k + 1/2) / 4 is nearest."""

    num_classes = 4

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Parameter((torch.arange(4) + 0.5) / 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -(x.mean((1, 2, 3))[:, None] - self.levels).square()


def paint(classes: torch.Tensor) -> torch.Tensor:
    """Return images of these classes, N x 1 x 8 x 8 in [0, 1]."""
    return ((classes + 0.5) / 4)[:, None, None, None].expand(-1, 1, 8, 8)


def test_counts_are_those_of_the_classifier_in_either_kind_of_numbers():
    images = paint(torch.tensor([0, 3, 3, 1]))
    for each in (images, (255 * images).round().to(torch.uint8)):
        assert count_classes(Brightness(), each, CPU).tolist() == [1, 1, 0, 2]


def test_a_collapsed_generator_is_named_and_an_honest_one_is_not():
    rng = torch.Generator().manual_seed(0)
    real = paint(torch.randint(4, (400,), generator=rng))
    sets = {
        "honest": paint(torch.randint(4, (400,), generator=rng)),
        "collapsed": paint(torch.full((400,), 2)),
        "without 3": paint(torch.randint(3, (400,), generator=rng)),
    }
    found = compare_classes(Brightness(), real, sets, CPU)
    missed = {name: each["missed"] for name, each in found["sets"].items()}
    assert missed == {"honest": [], "collapsed": [0, 1, 3], "without 3": [3]}
    assert sum(found["real"]) == 400 and found["sets"]["collapsed"]["counts"] == [0, 0, 400, 0]
    p_values = [each["p_value"] for each in found["sets"].values()]
    assert p_values[0] > 0.01 and max(p_values[1:]) < 1e-20


SHARES = {
    "even": np.full(10, 0.1),
    "uneven": np.array([0.3, 0.25, 0.2, 0.15, 0.05, 0.03, 0.01, 0.01]),
    "two": np.array([0.9, 0.1]),
}


def count_alarms(shares: np.ndarray, real: np.ndarray, sizes: tuple[int, int]) -> float:
    """Return the share of sets drawn with these shares of classes that are named."""
    rng = np.random.default_rng(0)
    drawn = [rng.multinomial(n, p, NUM) for n, p in zip(sizes, (shares, real), strict=True)]
    return np.mean([bool(find_missed(*pair)) for pair in zip(*drawn, strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHARES)
@pytest.mark.parametrize("sizes", [(500, 500), (128, 128), (1000, 5000), (40, 40)])
def test_the_alarm_rate_holds_at_the_border(kind, sizes):
    """Every class but the first, of which the images are then, has just the least share allowed."""
    real = SHARES[kind]
    shares = MISSED_SHARE * real
    shares[0] = 1 - shares[1:].sum()
    for own, most in ((shares, ALARM_RATE), (real, ALARM_RATE / 10)):
        assert count_alarms(own, real, sizes) <= most + 3 * np.sqrt(most / NUM)


def test_the_alarm_rate_holds_at_the_border_in_a_small_simulation(monkeypatch):
    monkeypatch.setitem(globals(), "NUM", 1000)
    shares = MISSED_SHARE * SHARES["even"]
    shares[0] = 1 - shares[1:].sum()
    assert count_alarms(shares, SHARES["even"], (500, 500)) <= 0.004  # of 1,000, 5 or more: 0.4 %
    assert count_alarms(SHARES["even"], SHARES["even"], (500, 500)) == 0


def test_a_class_that_is_gone_is_found_and_a_rare_one_is_given_the_benefit_of_the_doubt():
    real = np.full(10, 50)
    assert find_missed(np.array([0, *[56] * 8, 52]), real) == [0]
    assert find_missed(np.array([25, *[53] * 8, 51]), real) == []
    assert find_missed(np.array([0, 60]), np.array([2, 58])) == []
    assert find_missed(np.array([60]), np.array([60])) == []  # of images without classes


def test_the_p_value_is_even_where_both_have_the_same_shares():
    rng = np.random.default_rng(1)
    pairs = rng.multinomial(300, np.full(5, 0.2), (300, 2))
    assert kstest([measure_agreement(*pair) for pair in pairs], "uniform").pvalue > 0.01
    assert measure_agreement(np.array([0, 9, 0]), np.array([0, 5, 0])) == 1


def test_the_line_names_the_classes_with_both_counts():
    counts, real = np.array([0, 300, 3, 197]), np.array([50, 250, 60, 140])
    line = describe_missed("version 3", counts, real, {2, 0})
    assert line.startswith("classes: images of version 3 hardly show what real ones do")
    assert "(class 0: 0 and 50, class 2: 3 and 60; of 500 new and 500 real images)" in line
    many = describe_missed("x", np.zeros(30, int), np.ones(30, int), set(range(30)))
    assert "class 9: 0 and 1, and 20 classes more; of 0 new" in many
