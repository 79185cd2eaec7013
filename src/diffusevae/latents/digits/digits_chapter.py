"""What the beta-VAE study says on the page of the latent studies."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from diffusevae.latents.digits import digits_study
from diffusevae.latents.measures.traversals import USED
from diffusevae.latents.page.chapter import Chapter, Headline, Picture, Table

PICTURES = (
    Picture(
        "traversals.png",
        "What each latent does",
        "One test image, one row per latent, the most informative first. Along a row that "
        "latent alone goes from -3 to +3. A latent with hardly any KL does nothing: the "
        "beta-VAE pays for every nat, and leaves unused what is not worth it.",
    ),
    Picture(
        "cards.png",
        "Measured effects: the factor cards",
        "How much a latent's traversal changes thickness, slant, width and area (in standard "
        "deviations of the test images), and in what share of images the predicted class "
        "changes on the way. First seed; bars with 95 % intervals over images; the number at a "
        "latent is its KL in nats.",
    ),
    Picture(
        "ranking.png",
        "Which latent matters, by seed",
        "KL of every latent in trainings that differ in their seed alone. Left, by index, the "
        "lines cross everywhere; right, each latent stands where the first seed's most similar "
        "one does.",
    ),
    Picture(
        "jumps.png",
        "Smooth or jumping?",
        "The three traversals that change the image most, of the beta-VAE and of the "
        "deterministic autoencoder (over three standard deviations of its codes). The number "
        "is the largest step over the mean step: 1 would be perfectly even.",
    ),
    Picture(
        "archetypes.png",
        "Archetypes",
        "The ideal image, as the beta-VAE sees it, of every class, and of clusters that were "
        "found without labels.",
    ),
    Picture(
        "recognition.png",
        "Recognising noisy images",
        "Accuracy on test images under Gaussian noise; mean over the seeds' models, bands are "
        "95 % intervals over images. Blue compares codes, orange pixels; the classifier was "
        "trained on clean images.",
    ),
)
TABLES = (
    Table(
        "comparison.csv",
        "Autoencoder against beta-VAE",
        "The study's table of four rows, each cell a number: median over the seeds, least and "
        "greatest. The autoencoder has the study's larger code.",
    ),
    Table(
        "agreement.csv",
        "Do seeds agree?",
        "Kendall's W of the order of the latents over the seeds (1: the same order), what chance "
        "gives, and the share of random orders that agree as well.",
    ),
    Table(
        "cards.csv",
        "Factor cards",
        "Effects from -3 to +3 with their 95 % intervals; shapes in standard deviations of the "
        "data, class as a share; pixels: root mean square change; jump: largest step over mean "
        "step.",
    ),
    Table("recognition.csv", "Accuracy over noise", "The numbers of the picture above."),
)


def describe(
    config: digits_study.BetaVAEConfig,
    tables: Mapping[str, pd.DataFrame],
    right: Mapping[float, list[dict[str, np.ndarray]]],
    seed: int,
) -> Chapter:
    """Return the chapter; `tables` by file name, `right` as summarise_recognition takes it."""
    cards, ranking = tables["cards.csv"], tables["ranking.csv"]
    comparison = tables["comparison.csv"]
    recognition, recognised = digits_study.judge_recognition(right, seed)
    used = cards[cards["kl"] >= USED].sort_values("kl", ascending=False)
    meanings = "; ".join(f"latent {card.latent} {card.meaning}" for card in used.itertuples())
    summary = (
        f"A beta-VAE with {config.model.latents} latents and beta {config.model.beta:g} was "
        f"trained on digits {len(config.seeds)} times, from different seeds, beside a "
        "deterministic autoencoder. Every latent was moved from -3 to +3 in the codes of "
        f"{config.num_traversed} test images, and what that does to the stroke was measured.",
        f"In the first training {len(used)} of {len(cards)} latents are in use: {meanings}.",
    )
    headlines = [
        Headline(
            row["number"] + ", beta-VAE",
            row["beta_vae"],
            row["beta_vae_low"],
            row["beta_vae_high"],
            f"median of {len(config.seeds)} seeds, least and greatest",
        )
        for row in comparison.to_dict("records")
    ]
    claims = (
        digits_study.judge_neuron(ranking),
        *digits_study.judge_orders(ranking, tables["agreement.csv"]),
        *digits_study.judge_comparison(comparison),
        *recognition,
    )
    return Chapter(
        "Beta-VAE: what the latents of digits mean",
        summary,
        (*headlines, *recognised),
        claims,
        PICTURES,
        TABLES,
    )
