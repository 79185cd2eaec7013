"""What each latent was measured to do, as people read it: the factor cards of stage beta_vae."""

from dataclasses import dataclass
from pathlib import Path

from diffusevae.core.errors import InputError
from diffusevae.core.readback import read_table
from diffusevae.latents.measures.traversals import USED

COLUMNS = {"latent": int, "kl": float, "meaning": str}  # those that are needed here


@dataclass(frozen=True)
class Card:
    """A latent by its index from 0, its mean KL in nats, and its meaning in words."""

    latent: int
    kl: float
    meaning: str

    @property
    def used(self) -> bool:
        """Whether the latent carries anything; what does not is collapsed."""
        return self.kl >= USED

    @property
    def title(self) -> str:
        """The meaning as a heading, e.g. "Slant"."""
        return self.meaning[:1].upper() + self.meaning[1:]

    @property
    def detail(self) -> str:
        """Which latent it is and how much it carries."""
        return f"latent {self.latent}, {self.kl:.2f} nats"


def read_cards(path: Path, latents: int) -> list[Card]:
    """Return the cards of a model with so many latents, the most informative first.

    Raises InputError for a table with other columns, or of other latents.
    """
    table = read_table(path, COLUMNS, "make it again with the stage beta_vae")
    if sorted(table["latent"]) != list(range(latents)):
        raise InputError(
            f"{path}: is of {len(table)} latents, but the model has those from 0 to "
            f"{latents - 1}; take the cards of this model"
        )
    cards = [Card(int(row.latent), float(row.kl), str(row.meaning)) for row in table.itertuples()]
    return sorted(cards, key=lambda card: (-card.kl, card.latent))
