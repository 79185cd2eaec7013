"""Which latent matters most, training by training, and whether trainings agree (B5)."""

from collections.abc import Mapping

import pandas as pd

from diffusevae.core.randomness import seed_of
from diffusevae.latents.digits.digits_study import Findings
from diffusevae.latents.measures import agreement


def rank_latents(findings: Mapping[int, Findings]) -> pd.DataFrame:
    """Return a row per seed and latent: KL, effect on the pixels, the rank by each, and its match.

    `match` is the latent of the first seed whose codes resemble this one's most, `likeness` their
    absolute correlation over the test images.
    """
    first = next(iter(findings.values()))
    rows = []
    for seed, found in findings.items():
        matched, likeness = agreement.match_latents(found.mu, first.mu)
        ranks = {name: agreement.rank(found.cards[name]) for name in ("kl", "pixels")}
        for i, card in enumerate(found.cards.to_dict("records")):
            rows.append(
                {
                    "seed": seed,
                    "latent": i,
                    "meaning": card["meaning"],
                    "kl": card["kl"],
                    "pixels": card["pixels"],
                    "rank_kl": ranks["kl"][i],
                    "rank_pixels": ranks["pixels"][i],
                    "match": matched[i],
                    "likeness": likeness[i],
                }
            )
    return pd.DataFrame(rows)


def measure_agreement(ranking: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return how far seeds agree on the order of latents, by index and by match: Kendall's W.

    `chance` is the W that independent orders have on average (1 / seeds), `p` the share of random
    orders that agree as well.
    """
    rows = []
    for by, column in (("index", "latent"), ("matched codes", "match")):
        for score in ("kl", "pixels"):
            table = ranking.pivot(index="seed", columns=column, values=score).to_numpy()
            rows.append(
                {
                    "latents compared by": by,
                    "ranked by": score,
                    "Kendall's W": agreement.concordance(table),
                    "chance": 1 / len(table),
                    "p": agreement.chance_of_concordance(
                        table, seed_of(seed, "agreement", by, score)
                    ),
                }
            )
    return pd.DataFrame(rows)
