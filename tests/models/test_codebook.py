"""The codebook: nearest entries, running means by hand, dead entries, perplexity."""

import pytest
import torch

from diffusevae.models.codebook import DECAY, Codebook, perplexity


def make_codebook(entries: list[list[float]], count: float = 1.0) -> Codebook:
    """Return a codebook of these entries, each chosen `count` times a batch so far."""
    book = Codebook(len(entries), len(entries[0]))
    book.entries.copy_(torch.tensor(entries))
    book.counts.fill_(count)
    book.sums.copy_(book.entries * count)
    return book


def as_code(rows: list[list[float]]) -> torch.Tensor:
    """Return vectors n x Cz as a code of one image, 1 x Cz x 1 x n."""
    return torch.tensor(rows).T[None, :, None]


def test_each_vector_becomes_its_nearest_entry():
    book = make_codebook([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]])
    z = as_code([[0.9, 0.1], [4.0, 9.0], [-1.0, 0.2], [0.6, 0.0]])
    assert book.find_nearest(z).tolist() == [[[1, 2, 0, 1]]]
    expected = as_code([[1.0, 0.0], [5.0, 5.0], [0.0, 0.0], [1.0, 0.0]])
    assert torch.equal(book.quantise(z), expected)


def test_a_gradient_goes_on_to_what_was_quantised_and_changes_no_entry():
    book = make_codebook([[0.1, 0.3], [1.0, 0.7]])
    z = as_code([[0.9, 0.1], [0.2, 0.4]]).requires_grad_()
    entries = book.quantise(z)
    assert torch.equal(entries, book.quantise(z.detach()))
    entries.square().sum().backward()
    assert torch.equal(z.grad, 2 * entries.detach())


def test_entries_follow_their_encodings_as_running_means():
    book = make_codebook([[0.0], [10.0]], count=2.0)
    z = as_code([[1.0], [2.0], [3.0], [11.0]])
    book.follow(z, book.find_nearest(z), torch.zeros(2))
    counts = [DECAY * 2 + (1 - DECAY) * 3, DECAY * 2 + (1 - DECAY) * 1]
    sums = [DECAY * 0 + (1 - DECAY) * 6, DECAY * 20 + (1 - DECAY) * 11]
    assert book.counts.tolist() == pytest.approx(counts)
    assert book.entries.flatten().tolist() == pytest.approx(
        [total / count for total, count in zip(sums, counts, strict=True)]
    )


def test_an_entry_that_none_chooses_starts_anew_from_an_encoding():
    book = make_codebook([[0.0], [1.0], [100.0]])
    book.counts[2], book.sums[2] = 1e-3, 0.1
    z = as_code([[0.0], [1.0], [0.25], [0.75]])
    book.follow(z, book.find_nearest(z), torch.tensor([0.0, 0.0, 0.6]))
    assert book.entries.flatten().tolist()[2] == pytest.approx(0.25)  # 0.6 of 4 is number 2
    alive = book.counts[:2]
    assert float(book.counts[2]) == pytest.approx(float(alive.sum() + DECAY * 1e-3) / 3)


def test_the_first_batch_makes_the_entries():
    book = Codebook(3, 1)
    z = as_code([[7.0], [8.0], [9.0], [7.5]])
    book.follow(z, book.find_nearest(z), torch.tensor([0.0, 0.3, 0.6]))
    assert 7 <= float(book.entries.min()) and float(book.entries.max()) <= 9


def test_perplexity_counts_the_entries_in_use():
    book = Codebook(8, 1)
    uniform = book.measure_shares(torch.arange(8).repeat(3))
    assert float(perplexity(uniform)) == pytest.approx(8)
    assert float(perplexity(book.measure_shares(torch.full((2, 3), 5)))) == pytest.approx(1)
