"""What the beta-VAE study claims of digits, judged by the numbers: facts for its template."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom, spearmanr

from diffusevae.latents.digits import archetypes
from diffusevae.latents.measures import traversals
from diffusevae.latents.measures.evidence import Verdict, judge

NEURON = 3  # that the study calls dominant; it counts its rows from 1
CLAIMED_HIGHER = {  # of the beta-VAE than of the autoencoder; where False, lower
    "traversal: largest step over mean step": False,
    "R² of a shape by its best latent": True,
    "mean |correlation| of two latents": False,
    "generation: Fréchet distance": False,
    "reconstruction MSE": True,
}
RIVALS = {"pixels_class": "comparing pixels", "denoise": "denoising first"}


def judge_neuron(ranking: pd.DataFrame) -> dict[str, Any]:
    """Return the verdict on "neuron 3 is dominant": is it, in every training, and by chance?"""
    seeds = ranking["seed"].nunique()
    latents = ranking["latent"].nunique()
    # Counted from 1 as the study counts its rows, or from 0 as its code does: either would do.
    tops = {
        score: ranking.loc[ranking.groupby("seed")[score].idxmax(), "latent"]
        for score in ("kl", "pixels")
    }
    hits = max(int((top == index).sum()) for top in tops.values() for index in (NEURON - 1, NEURON))
    return {
        "number": NEURON,
        "verdict": "holds" if hits == seeds else "fails",
        "hits": hits,
        "num_seeds": seeds,
        "num_latents": latents,
        "by_chance": float(binom.sf(hits - 1, seeds, 1 / latents)) if hits else 1.0,
        "leaders": list(tops["kl"]),
    }


def judge_orders(ranking: pd.DataFrame, agreed: pd.DataFrame) -> dict[str, Any]:
    """Return verdicts on whether seeds agree, and whether KL tells which latent matters."""
    w = {(row["latents compared by"], row["ranked by"]): row for row in agreed.to_dict("records")}
    by_index, by_match = w["index", "kl"], w["matched codes", "kl"]
    within = [
        float(spearmanr(own["kl"], own["pixels"]).statistic) for _, own in ranking.groupby("seed")
    ]
    others = ranking[ranking["seed"] != ranking["seed"].iloc[0]]
    used = others[others["kl"] >= traversals.USED]
    return {
        "index_means": "holds" if by_index["p"] < 0.05 else "fails",
        "by_index": by_index,
        "by_match": by_match,
        "likeness": used["likeness"].median(),
        "kl_tells": "holds" if min(within) > 0.5 else "fails",
        "within": within,
    }


def judge_comparison(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the rows of `compare` of which the study claims something, each with its verdict."""
    rows = table.set_index("number").to_dict("index")

    def verdict(row: Mapping[str, float], higher: bool) -> Verdict:
        above = row["beta_vae_low"] > row["autoencoder_high"]
        below = row["beta_vae_high"] < row["autoencoder_low"]
        return judge(above, below) if higher else judge(below, above)

    return {
        name: rows[name] | {"verdict": verdict(rows[name], higher)}
        for name, higher in CLAIMED_HIGHER.items()
    }


def judge_recognition(
    right: Mapping[float, list[dict[str, np.ndarray]]], seed: int
) -> list[dict[str, Any]]:
    """Return what comparing codes gains in accuracy on noisy images over each of RIVALS."""
    noisy = {level: found for level, found in right.items() if level > 0}
    rows = []
    for way, rival in RIVALS.items():
        change = archetypes.compare_ways(noisy, "latent_class", way, seed)
        verdict = judge(change["low"] > 0, change["high"] < 0)
        rows.append({"way": way, "rival": rival, "verdict": verdict, **change})
    return rows
