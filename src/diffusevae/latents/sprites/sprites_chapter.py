"""What the sprites study tells a reader: its sentences, claims and headline numbers."""

import pandas as pd

from diffusevae.latents.measures.evidence import Verdict
from diffusevae.latents.page.chapter import Chapter, Claim, Headline, Picture, Table
from diffusevae.latents.sprites.disentangling import NAMES, ObjectiveName
from diffusevae.latents.sprites.dsprites import FACTORS
from diffusevae.latents.sprites.sprites_study import (
    SCORES,
    RankTest,
    Run,
    SpritesConfig,
    compare_objectives,
    share_of_objective,
)

RIVALS = ("factor_vae", "beta_tcvae")  # which are said to be better than the beta-VAE


def best_rival(runs: pd.DataFrame) -> str:
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
    count = len(config.seeds)
    spread = f"median of {count} seeds, least and greatest"
    headlines = [
        _headline(f"{NAMES[rival]}: {title}", runs, rival, name, spread)
        for name, title in SCORES.items()
    ]
    headlines += [
        _headline(f"beta-VAE: {title}", runs, "beta_vae", name, spread)
        for name, title in SCORES.items()
    ]
    gap = (runs["mig"] - runs["mig_counted"]).abs().max()
    headlines.append(
        Headline(
            "MIG: largest difference of two estimators",
            float(gap),
            None,
            None,
            f"{len(runs)} models",
        )
    )
    return Chapter(
        "Disentanglement on sprites",
        _summary(config, runs, rival, num_images, drawn),
        tuple(headlines),
        _claims(runs),
        _pictures(best),
        _tables(),
    )


def _headline(title: str, runs: pd.DataFrame, objective: str, column: str, of: str) -> Headline:
    values = runs.loc[runs["objective"] == objective, column]
    return Headline(title, float(values.median()), float(values.min()), float(values.max()), of)


def _summary(
    config: SpritesConfig, runs: pd.DataFrame, rival: str, num_images: int, drawn: bool
) -> tuple[str, ...]:
    medians = runs.loc[runs["objective"] == rival, list(SCORES)].median()
    numbers = ", ".join(f"{SCORES[name]} {value:.2f}" for name, value in medians.items())
    origin = (
        "were drawn by us after the geometry of 100 true dSprites images"
        if drawn
        else "are those of the original dSprites file"
    )
    return (
        f"A sprite is a white shape on black, made from five known factors: {', '.join(FACTORS)}. "
        f"The {num_images:,} images of the grid {origin}; {config.num_train_images:,} of them were "
        f"learned from, at {config.image_size} x {config.image_size} pixels.",
        f"Four objectives were each trained with {len(config.seeds)} seeds for {config.steps:,} "
        f"steps of {config.optimiser.batch_size} images, and their {config.vae.latents} latents "
        f"compared with the factors on {config.num_test_images:,} images not learned from.",
        "Three scores ask in different ways whether each factor has a latent of its own; 1 is "
        "perfect. The FactorVAE score guesses which factor was held fixed, DCI asks of each latent "
        "whether it serves one factor alone, MIG by how much a factor's best latent leads.",
        f"Of FactorVAE and beta-TCVAE, {NAMES[rival]} came out ahead: {numbers} (medians).",
    )


def _claims(runs: pd.DataFrame) -> tuple[Claim, ...]:
    papers: dict[ObjectiveName, tuple[str, str]] = {
        "factor_vae": ("factor_vae_score", "Kim and Mnih (2018)"),
        "beta_tcvae": ("mig", "Chen et al. (2018)"),
    }
    claims = []
    for objective, (score, paper) in papers.items():
        found = {name: compare_objectives(runs, objective, "beta_vae", name) for name in SCORES}
        evidence = "; ".join(f"{SCORES[name]} {_tell(found[name])}" for name in SCORES)
        claims.append(
            Claim(
                f"{NAMES[objective]} disentangles better than the beta-VAE",
                paper,
                found[score].verdict,
                f"Judged by the paper's own score, {SCORES[score]}. {evidence}.",
            )
        )
    restored = compare_objectives(runs, "beta_vae", "annealed_capacity", "mse")
    claims.append(
        Claim(
            "Annealing the capacity restores images better than the beta-VAE",
            "Burgess et al. (2018)",
            restored.verdict,
            f"Squared error per pixel of beta-VAE and annealed capacity: {_tell(restored, 4)}.",
        )
    )
    shares = {name: share_of_objective(runs, name) for name in SCORES}
    low = [share < 0.5 for share in shares.values()]
    verdict: Verdict = "open" if any(low) or runs["seed"].nunique() < 2 else "fails"
    if all(low):
        verdict = "holds"
    told = ", ".join(f"{SCORES[name]} {share:.0%}" for name, share in shares.items())
    claims.append(
        Claim(
            "The seed matters more than the objective",
            "Locatello et al. (2019)",
            verdict,
            f"Share of a score's variance over all {len(runs)} models that "
            f"the objective explains: {told}. Each objective was tried at one "
            "strength.",
        )
    )
    return tuple(claims)


def _tell(found: RankTest, digits: int = 2) -> str:
    return f"{found.left:.{digits}f} against {found.right:.{digits}f} (medians, p = {found.p:.3f})"


def _pictures(best: Run) -> tuple[Picture, ...]:
    shown = f"{NAMES[best.objective]}, seed {best.seed}"
    return (
        Picture(
            "scores.png",
            "Three scores of disentanglement by objective",
            "A point for each seed, a bar at their median; 1 is perfect.",
        ),
        Picture(
            "traversals.png",
            "What each latent of the best model moves",
            f"The model with the highest mean of the three scores ({shown}). In a row one "
            "latent goes from -3 to +3 while the others stay; the row of the largest KL is on "
            "top. Each title names the factor of which the latent knows most, and how much.",
        ),
        Picture(
            "information.png",
            "What each latent of the best model knows of each factor",
            f"Mutual information as a share of the factor's entropy ({shown}). A disentangled "
            "model has one dark cell in every column, and one at most in every row.",
        ),
        Picture(
            "reconstructions.png",
            "Sprites and what the models make of them",
            "Test images, and the reconstruction by the best seed of each objective.",
        ),
    )


def _tables() -> tuple[Table, ...]:
    return (
        Table(
            "table.csv",
            "The objectives compared",
            "Median, least and greatest over the seeds. mig_counted is MIG by another estimator "
            "(counting sampled codes); mse is the squared error per pixel; kl is in nats.",
        ),
        Table("runs.csv", "Every trained model", "One row for each objective and seed."),
    )
