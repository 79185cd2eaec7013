"""What the sprites study tells a reader: the numbers that fill its template."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from diffusevae.latents.measures.evidence import Verdict
from diffusevae.latents.page.chapter import Chapter
from diffusevae.latents.page.words import fill_chapter
from diffusevae.latents.sprites.disentangling import NAMES, ObjectiveName
from diffusevae.latents.sprites.dsprites import FACTORS
from diffusevae.latents.sprites.sprites_study import (
    SCORES,
    Run,
    SpritesConfig,
    compare_objectives,
    share_of_objective,
)

TEMPLATE = Path(__file__).with_name("sprites.yaml.jinja")
RIVALS: tuple[ObjectiveName, ...] = (
    "factor_vae",
    "beta_tcvae",
)  # which are said to be better than the beta-VAE


def best_rival(runs: pd.DataFrame) -> ObjectiveName:
    """Return the one of RIVALS whose medians of the three scores have the higher mean."""
    medians = runs.groupby("objective")[list(SCORES)].median().mean(axis=1)
    return max(RIVALS, key=lambda name: medians[name])


def tell_sprites(
    config: SpritesConfig, runs: pd.DataFrame, best: Run, num_images: int, drawn: bool
) -> Chapter:
    """Return the chapter of a table of runs (`tabulate_runs`), of which `best` is shown.

    `num_images` is the size of the grid; `drawn`: drawn by us, not read from the original file.
    """
    rival = best_rival(runs)
    shares = {name: share_of_objective(runs, name) for name in SCORES}
    return fill_chapter(
        TEMPLATE,
        config=config,
        num_images=num_images,
        drawn=drawn,
        num_models=len(runs),
        best=best,
        rival=rival,
        names=NAMES,
        scores=SCORES,
        factors=FACTORS,
        by_seed={
            objective: {name: _summarise(runs, objective, name) for name in SCORES}
            for objective in (rival, "beta_vae")
        },
        gap=float((runs["mig"] - runs["mig_counted"]).abs().max()),
        better={
            objective: {
                name: compare_objectives(runs, objective, "beta_vae", name) for name in SCORES
            }
            for objective in RIVALS
        },
        restored=compare_objectives(runs, "beta_vae", "annealed_capacity", "mse"),
        shares=shares,
        seed_matters=_judge_seed(shares.values(), runs["seed"].nunique()),
    )


def _summarise(runs: pd.DataFrame, objective: str, column: str) -> dict[str, float]:
    """Return the median, the least and the greatest of an objective's values over the seeds."""
    values = runs.loc[runs["objective"] == objective, column]
    return {name: float(getattr(values, name)()) for name in ("median", "min", "max")}


def _judge_seed(shares: Iterable[float], num_seeds: int) -> Verdict:
    """Say whether seeds matter more than the objective, by every score's share of variance."""
    low = [share < 0.5 for share in shares]
    if all(low):
        return "holds"
    return "open" if any(low) or num_seeds < 2 else "fails"
