"""What the study of spectra found: the numbers that fill its template."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from diffusevae.latents.measures.evidence import Verdict, judge
from diffusevae.latents.page.chapter import Chapter
from diffusevae.latents.page.words import fill_chapter
from diffusevae.latents.spectra.measured_spectra import Spectra
from diffusevae.latents.spectra.recognition import METHODS
from diffusevae.latents.spectra.spectral_lines import find_common_latent
from diffusevae.metrics.bootstrap import interval

OWN_SHARE = 0.5  # a latent has a line to itself where it moves it more than all others together
TEMPLATE = Path(__file__).with_name("spectra.yaml.jinja")


@dataclass(frozen=True, eq=False)
class SpectraFindings:
    """All that the chapter tells of.

    copies: the pairs of equal spectra; accuracy: `summarise_hits`; lines: a table of
    `measure_lines` per seed; line_summary: `summarise_lines`; compared: `compare_archetypes`.
    """

    spectra: Spectra
    copies: Sequence[tuple[int, int]]
    num_folds: int
    accuracy: pd.DataFrame
    lines: Sequence[pd.DataFrame]
    line_summary: pd.DataFrame
    compared: pd.DataFrame
    seed: int


def judge_recognition(accuracy: pd.DataFrame, method: str) -> Verdict:
    """Say whether a method beats cosine similarity under noise: holds, fails or open.

    It holds where the method is better at every level of noise, each with its interval, and fails
    where it is better at none and worse at one at least.
    """
    noisy = accuracy[(accuracy["method"] == method) & (accuracy["noise"] > 0)]
    is_better, is_worse = noisy["difference_low"] > 0, noisy["difference_high"] < 0
    return judge(len(noisy) > 0 and is_better.all(), is_worse.any() and not is_better.any())


def judge_common_latent(lines: Sequence[pd.DataFrame], mineral: str) -> Verdict:
    """Say whether one latent has all the lines of a mineral to itself: in every seed, in none."""
    found = []
    for table in lines:
        latent, _ = find_common_latent(table, mineral)
        own = table[(table["mineral"] == mineral) & (table["latent"] == latent)]
        found.append(bool((own["share"] > OWN_SHARE).all()))
    return judge(all(found), not any(found))


def write_up(findings: SpectraFindings) -> Chapter:
    """Return the chapter."""
    spectra, accuracy = findings.spectra, findings.accuracy
    counts = spectra.labels.bincount()
    return fill_chapter(
        TEMPLATE,
        num_spectra=spectra.labels.numel(),
        num_minerals=len(spectra.names),
        fewest=int(counts.min()),
        most=int(counts.max()),
        num_copies=len(findings.copies),
        num_folds=findings.num_folds,
        num_held_out=accuracy["num_spectra"].iloc[0],
        num_seeds=accuracy["num_seeds"].iloc[0],
        end=spectra.shift[-1],
        methods=METHODS,
        quiet=_at(accuracy, accuracy["noise"].min()),
        loud=_at(accuracy, accuracy["noise"].max()),
        noisy=accuracy[(accuracy["method"] == "archetype") & (accuracy["noise"] > 0)].to_dict(
            "records"
        ),
        by_archetype=judge_recognition(accuracy, "archetype"),
        own_share=OWN_SHARE,
        common_latent=judge_common_latent(findings.lines, "Gypsum"),
        **_tell_lines(findings),
        **_tell_archetypes(findings),
    )


def _at(accuracy: pd.DataFrame, noise: float) -> dict[str, pd.Series]:
    """Return the row of every method at one level of noise."""
    rows = accuracy[accuracy["noise"] == noise]
    return {row["method"]: row for _, row in rows.iterrows()}


def _tell_lines(findings: SpectraFindings) -> dict[str, object]:
    """Return what the template says of lines: how much their first latent moves, what is kept."""
    lines, shares = findings.line_summary, findings.line_summary["top_share"]
    height, kept = lines["measured"].median(), lines["pseudo"] / lines["measured"]
    gypsum = lines[lines["line"].str.startswith("Gypsum")]
    return {
        "num_lines": len(lines),
        "top_share": {
            "top_share": shares.median(),
            "top_share_low": shares.min(),
            "top_share_high": shares.max(),
        },
        "median_height": height,
        "high_kept": kept[lines["measured"] >= height].median(),
        "low_kept": kept[lines["measured"] < height].median(),
        "gypsum": {
            "num_lines": len(gypsum),
            "common": [find_common_latent(table, "Gypsum")[1] for table in findings.lines],
            "share_least": gypsum["share_least"].min(),
            "share_greatest": gypsum["share_greatest"].max(),
        },
        "strongest": gypsum.set_index("line").loc["Gypsum 1008"],
        "weak": gypsum.set_index("line").loc["Gypsum 494"],
    }


def _tell_archetypes(findings: SpectraFindings) -> dict[str, object]:
    """Return what the template says of pseudo-spectra: are they nearer to unseen spectra?"""
    means = findings.compared.groupby("spectrum")[["pseudo", "mean", "single"]].mean()
    to_mean, to_single = (
        interval((means["pseudo"] - means[other]).to_numpy(), findings.seed)
        for other in ("mean", "single")
    )
    return {
        "num_compared": len(means),
        "similarity": {name: means[name].mean() for name in means},
        "to_mean": to_mean,
        "to_single": to_single,
        "ideal": judge(to_mean["low"] > 0, to_mean["high"] < 0),
    }
