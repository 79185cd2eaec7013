"""What the beta-VAE study of digits tells a reader: the numbers that fill its template."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from diffusevae.latents.digits.archetypes import WAYS
from diffusevae.latents.digits.digits_study import BetaVAEConfig
from diffusevae.latents.digits.digits_verdicts import (
    judge_comparison,
    judge_neuron,
    judge_orders,
    judge_recognition,
)
from diffusevae.latents.measures.traversals import USED
from diffusevae.latents.page.chapter import Chapter
from diffusevae.latents.page.words import fill_chapter

TEMPLATE = Path(__file__).with_name("digits.yaml.jinja")


def describe(
    config: BetaVAEConfig,
    tables: Mapping[str, pd.DataFrame],
    right: Mapping[float, list[dict[str, np.ndarray]]],
    seed: int,
) -> Chapter:
    """Return the chapter; `tables` by file name, `right` as summarise_recognition takes it."""
    cards, ranking = tables["cards.csv"], tables["ranking.csv"]
    levels = [level for level in right if level > 0]
    return fill_chapter(
        TEMPLATE,
        config=config,
        num_latents=len(cards),
        used=cards[cards["kl"] >= USED].sort_values("kl", ascending=False).to_dict("records"),
        comparison=tables["comparison.csv"].to_dict("records"),
        compared=judge_comparison(tables["comparison.csv"]),
        neuron=judge_neuron(ranking),
        orders=judge_orders(ranking, tables["agreement.csv"]),
        recognition=judge_recognition(right, seed),
        span=f"noise of {min(levels):g} to {max(levels):g}",
        ways=WAYS,
    )
