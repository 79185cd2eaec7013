"""The beta-VAE study on digits: several trainings, what their latents do, and what follows.

Rows B1 to B9 of docs/study.md, section 9: traversals, factor cards, the ranking of latents over
seeds, archetypes, and the comparison with a deterministic autoencoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from scipy.stats import binom, spearmanr
from torch import Tensor

from diffusevae.core.params import Count, PositiveCount, Range
from diffusevae.core.randomness import generator, seed_of
from diffusevae.data.dataset import Split, to_unit
from diffusevae.latents.digits import archetypes
from diffusevae.latents.measures import agreement, traversals
from diffusevae.latents.measures.evidence import Verdict, judge
from diffusevae.latents.models.autoencoder import apply
from diffusevae.latents.models.beta_vae import (
    BATCH,
    VectorVAE,
    VectorVAEConfig,
    encode_images,
    kl_of_latents,
)
from diffusevae.latents.models.deterministic import AutoencoderConfig, ConvolutionalAutoencoder
from diffusevae.latents.page.chapter import Claim, Headline
from diffusevae.metrics.distribution import frechet_distance
from diffusevae.models.classifier import Classifier
from diffusevae.training.loop import OptimiserConfig

SOURCE = "beta-VAE study (Sparavigna, 2026)"
NEURON = 3  # that the study calls dominant; it counts its rows from 1


@dataclass(frozen=True)
class BetaVAEConfig:
    """The models, how they are trained, and on how many images what is measured."""

    model: VectorVAEConfig
    autoencoder: AutoencoderConfig
    optimiser: OptimiserConfig
    epochs: PositiveCount
    seeds: tuple[Count, ...]
    steps: Annotated[int, Range(3, 101)]  # of a traversal
    num_traversed: PositiveCount  # test images whose codes are traversed
    num_test_images: PositiveCount
    num_clusters: Annotated[int, Range(2, 1000)]
    noise_levels: tuple[Annotated[float, Range(0, 10)], ...]

    def __post_init__(self) -> None:
        for name in ("seeds", "noise_levels"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}: expected one or more, each once")
        if not max(self.noise_levels) > 0:
            raise ValueError("noise_levels: none is above 0; add one")


@dataclass(frozen=True, eq=False)
class Judges:
    """What every training is judged by: test images with labels, a classifier, the shapes' spread.

    images (N x C x H x W in [0, 1]) and split hold the same test images.
    """

    split: Split
    images: Tensor
    classifier: Classifier
    spread: Mapping[str, float]

    @classmethod
    def of(cls, split: Split, classifier: Classifier) -> "Judges":
        """Return those of a test split."""
        images = to_unit(split.images)
        return cls(split, images, classifier, traversals.measure_spread(images))


@dataclass(frozen=True, eq=False)
class Findings:
    """What one training gave: its cards, the codes of the test images, and the table's numbers."""

    cards: pd.DataFrame
    mu: np.ndarray  # N x latents
    numbers: dict[str, float]


@torch.inference_mode()
def study_beta_vae(model: VectorVAE, judges: Judges, config: BetaVAEConfig, seed: int) -> Findings:
    """Return the findings on a beta-VAE."""
    mu, logvar = encode_images(model, judges.split.images)
    kl = kl_of_latents(mu, logvar).mean(0).numpy()
    effects = traversals.traverse_all(
        model,
        mu[: config.num_traversed],
        config.steps,
        judges.classifier,
        judges.spread,
        lambda latent: (0.0, 1.0),
    )
    cards = traversals.make_cards(effects, kl, seed)
    z = torch.randn(len(mu), mu.shape[1], generator=generator(seed, "prior"))
    numbers = _tabulate(model, mu, cards, z, judges)
    return Findings(
        cards,
        mu.numpy(),
        numbers
        | {"latents in use": float((kl >= traversals.USED).sum()), "KL in nats": float(kl.sum())},
    )


@torch.inference_mode()
def study_autoencoder(
    model: ConvolutionalAutoencoder, judges: Judges, config: BetaVAEConfig, seed: int
) -> Findings:
    """Return the findings on a deterministic autoencoder, as fair as can be.

    It has no prior: its traversals reach 3 standard deviations of the codes to both sides of their
    mean, and it generates from a Gaussian with the mean and variances of the codes.
    """
    codes = apply(model.encode, judges.split.images)
    centre, scale = codes.mean(0), codes.std(0)
    effects = traversals.traverse_all(
        model,
        codes[: config.num_traversed],
        config.steps,
        judges.classifier,
        judges.spread,
        lambda latent: (float(centre[latent]), float(scale[latent])),
    )
    cards = traversals.make_cards(effects, np.full(codes.shape[1], np.nan), seed)
    eps = torch.randn(codes.shape, generator=generator(seed, "prior"))
    numbers = _tabulate(model, codes, cards, centre + scale * eps, judges)
    return Findings(cards, codes.numpy(), numbers | {"latents in use": float((scale > 1e-3).sum())})


def _tabulate(
    model: VectorVAE | ConvolutionalAutoencoder,
    codes: Tensor,
    cards: pd.DataFrame,
    z: Tensor,
    judges: Judges,
) -> dict[str, float]:
    """Return the numbers of the comparison that both kinds of model have."""
    restored = torch.cat([model.decode(part) for part in codes.split(BATCH)])
    made = torch.cat([model.decode(part) for part in z.split(BATCH)])
    features = [
        torch.cat([judges.classifier.features(part) for part in images.split(BATCH)])
        for images in (judges.images, made)
    ]
    used = cards[~(cards["kl"] < traversals.USED)]
    used = cards if used.empty else used
    return {
        "reconstruction MSE": float((restored - judges.images).square().mean()),
        "mean |correlation| of two latents": traversals.entanglement(codes.numpy()),
        "R² of a shape by its best latent": traversals.explain_shapes(codes.numpy(), judges.images),
        "traversal: largest step over mean step": float(used["jump"].mean()),
        "traversal: confidence of the classifier": float(used["confidence"].mean()),
        "generation: Fréchet distance": frechet_distance(*(f.numpy() for f in features)),
    }


COMPARED = {  # the study's four rows, and the number that each has now
    "latents in use": "latent space",
    "KL in nats": "latent space",
    "mean |correlation| of two latents": "latent space",
    "R² of a shape by its best latent": "interpretability",
    "traversal: largest step over mean step": "manipulation",
    "traversal: confidence of the classifier": "manipulation",
    "generation: Fréchet distance": "generation",
    "reconstruction MSE": "reconstruction",
}


def compare(beta_vaes: Sequence[Findings], autoencoders: Sequence[Findings]) -> pd.DataFrame:
    """Return the study's table with numbers: median over seeds, least and greatest."""
    rows = []
    for name, row in COMPARED.items():
        entry: dict[str, object] = {"number": name, "row": row}
        for kind, findings in (("autoencoder", autoencoders), ("beta_vae", beta_vaes)):
            values = [one.numbers.get(name, np.nan) for one in findings]
            entry |= {
                kind: np.median(values),
                f"{kind}_low": min(values),
                f"{kind}_high": max(values),
            }
        rows.append(entry)
    return pd.DataFrame(rows)


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


def judge_neuron(ranking: pd.DataFrame) -> Claim:
    """Return the verdict on "neuron 3 is dominant": is it, in every training, and by chance?"""
    seeds = ranking["seed"].nunique()
    latents = ranking["latent"].nunique()
    # Counted from 1 as the study counts its rows, or from 0 as its code does: either would do.
    tops = {
        score: ranking.loc[ranking.groupby("seed")[score].idxmax(), "latent"]
        for score in ("kl", "pixels")
    }
    hits = max(int((top == index).sum()) for top in tops.values() for index in (NEURON - 1, NEURON))
    by_chance = float(binom.sf(hits - 1, seeds, 1 / latents)) if hits else 1.0
    order = ", ".join(map(str, tops["kl"]))
    verdict: Verdict = "holds" if hits == seeds else "fails"
    return Claim(
        f"Neuron {NEURON} is the dominant one",
        SOURCE,
        verdict,
        f"Counted from 1 or from 0, it leads in at most {hits} of {seeds} trainings that differ in "
        f"their seed alone (one of {latents} would in as many or more with probability "
        f"{by_chance:.2g}). By KL the leaders are latents {order}, counted from 0: which index a "
        "meaning lands on is an accident of the seed.",
    )


def judge_orders(ranking: pd.DataFrame, agreed: pd.DataFrame) -> list[Claim]:
    """Return verdicts on whether seeds agree, and whether KL tells which latent matters."""
    w = {(row["latents compared by"], row["ranked by"]): row for row in agreed.to_dict("records")}
    by_index, by_match = w["index", "kl"], w["matched codes", "kl"]
    w_index, w_match = by_index["Kendall's W"], by_match["Kendall's W"]
    w_index, w_match = by_index["Kendall's W"], by_match["Kendall's W"]
    within = [
        float(spearmanr(own["kl"], own["pixels"]).statistic) for _, own in ranking.groupby("seed")
    ]
    others = ranking[ranking["seed"] != ranking["seed"].iloc[0]]
    used = others[others["kl"] >= traversals.USED]
    return [
        Claim(
            "A latent's index has a meaning",
            SOURCE,
            "holds" if by_index["p"] < 0.05 else "fails",
            f"Kendall's W of the order by KL over {ranking['seed'].nunique()} seeds is "
            f"{w_index:.2f} by index (p = {by_index['p']:.2g}; by chance "
            f"{by_index['chance']:.2f}) and {w_match:.2f} when latents are matched "
            f"by their codes (p = {by_match['p']:.2g}); matched latents in use have a median "
            f"|correlation| of {used['likeness'].median():.2f}.",
        ),
        Claim(
            "The latent with the largest KL changes the image most",
            SOURCE,
            "holds" if min(within) > 0.5 else "fails",
            f"Spearman's correlation of KL with the change of the pixels, within a training: from "
            f"{min(within):.2f} to {max(within):.2f}.",
        ),
    ]


def judge_comparison(table: pd.DataFrame) -> list[Claim]:
    """Return verdicts on what the study's table says of the beta-VAE against the autoencoder."""
    rows = table.set_index("number")

    def say(name: str, digits: int) -> str:
        row = rows.loc[name]
        return (
            f"{name}: beta-VAE {row['beta_vae']:.{digits}f} [{row['beta_vae_low']:.{digits}f}, "
            f"{row['beta_vae_high']:.{digits}f}], autoencoder {row['autoencoder']:.{digits}f} "
            f"[{row['autoencoder_low']:.{digits}f}, {row['autoencoder_high']:.{digits}f}]; "
            "median of the seeds, least and greatest."
        )

    def verdict(name: str, higher: bool) -> Verdict:
        row = rows.loc[name]
        above = row["beta_vae_low"] > row["autoencoder_high"]
        below = row["beta_vae_high"] < row["autoencoder_low"]
        return judge(above, below) if higher else judge(below, above)

    said = {
        "The autoencoder's traversals jump, the beta-VAE's are smooth": (
            "traversal: largest step over mean step",
            False,
            2,
        ),
        "The beta-VAE's latents are easier to interpret": (
            "R² of a shape by its best latent",
            True,
            2,
        ),
        "The autoencoder's latents are entangled": ("mean |correlation| of two latents", False, 3),
        "The beta-VAE can generate, the autoencoder cannot": (
            "generation: Fréchet distance",
            False,
            1,
        ),
        "The autoencoder reconstructs better": ("reconstruction MSE", True, 4),
    }
    return [
        Claim(claim, SOURCE, verdict(name, higher), say(name, digits))
        for claim, (name, higher, digits) in said.items()
    ]


def judge_recognition(
    right: Mapping[float, list[dict[str, np.ndarray]]], seed: int
) -> tuple[list[Claim], list[Headline]]:
    """Return verdicts and numbers on recognising noisy images by archetypes."""
    levels = [level for level in right if level > 0]
    span = f"noise of {min(levels):g} to {max(levels):g}"
    claims, headlines = [], []
    noisy = {level: right[level] for level in levels}
    for other, name, claim in (
        (
            "pixels_class",
            "comparing pixels",
            "A noisy image is recognised better among codes than among pixels",
        ),
        ("denoise", "denoising first", "Comparing codes beats denoising before classifying"),
    ):
        change = archetypes.compare_ways(noisy, "latent_class", other, seed)
        claims.append(
            Claim(
                claim,
                SOURCE,
                judge(change["low"] > 0, change["high"] < 0),
                f"Accuracy of the nearest class archetype among codes, less that of "
                f"'{archetypes.WAYS[other]}': {100 * change['value']:+.1f} points "
                f"[{100 * change['low']:+.1f}, {100 * change['high']:+.1f}], over {span} (95 % "
                "interval over images).",
            )
        )
        headlines.append(
            Headline(
                f"recognition: accuracy of comparing codes less that of {name}",
                change["value"],
                change["low"],
                change["high"],
                f"over {span}, 95 % interval over images",
            )
        )
    return claims, headlines
