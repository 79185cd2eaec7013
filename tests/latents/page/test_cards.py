"""Factor cards read back."""

import pytest

from diffusevae.core.errors import InputError
from diffusevae.latents.page.cards import read_cards
from tests.support.toy_latents import CARDS, LATENTS


def test_cards_come_with_the_most_informative_first(tmp_path):
    path = tmp_path / "cards.csv"
    path.write_text(CARDS)
    cards = read_cards(path, LATENTS)
    assert [card.latent for card in cards] == [1, 3, 2, 0]
    assert [card.used for card in cards] == [True, True, True, False]
    assert (cards[2].title, cards[2].detail) == ("Width, class", "latent 2, 0.70 nats")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("latent,kl\n0,1.0\n", "has no column meaning; make it again"),
        (
            "latent,kl,meaning\n0,1.0,slant\n",
            "is of 1 latents, but the model has those from 0 to 3",
        ),
        ("", "cannot be read"),
    ],
)
def test_other_cards_are_one_line(tmp_path, text, line):
    path = tmp_path / "cards.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=line):
        read_cards(path, LATENTS)
