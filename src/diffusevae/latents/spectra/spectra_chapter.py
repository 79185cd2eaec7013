"""What the study of spectra found, in words that its numbers fill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from diffusevae.latents.measures.evidence import Verdict, judge
from diffusevae.latents.page.chapter import Chapter, Claim, Headline, Picture, Table
from diffusevae.latents.spectra.measured_spectra import Spectra
from diffusevae.latents.spectra.recognition import BASELINE, METHODS
from diffusevae.latents.spectra.spectral_lines import find_common_latent
from diffusevae.metrics.bootstrap import interval

OWN_SHARE = 0.5  # a latent has a line to itself where it moves it more than all others together
SOURCE = "beta-VAE study"


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
    return Chapter(
        "Raman spectra of minerals",
        _summarise(findings),
        _list_headlines(findings),
        _judge_claims(findings),
        PICTURES,
        TABLES,
    )


def _at(accuracy: pd.DataFrame, method: str, noise: float) -> pd.Series:
    return accuracy[(accuracy["method"] == method) & (accuracy["noise"] == noise)].iloc[0]


def _percent(row: Mapping[str, float], name: str) -> str:
    return f"{row[name]:.1%} ({row[f'{name}_low']:.1%} to {row[f'{name}_high']:.1%})"


def _summarise(findings: SpectraFindings) -> tuple[str, ...]:
    spectra, accuracy = findings.spectra, findings.accuracy
    counts = spectra.labels.bincount()
    names = spectra.labels.numel(), len(spectra.names), int(counts.min()), int(counts.max())
    best, plain = (_at(accuracy, method, accuracy["noise"].min()) for method in ("code", BASELINE))
    lines, loud = findings.line_summary, accuracy["noise"].max()
    strong = lines["measured"].median()

    def kept(rows: pd.Series) -> str:
        return f"{(lines['pseudo'] / lines['measured'])[rows].median():.0%}"

    best_loud, plain_loud = (_at(accuracy, method, loud) for method in ("code", BASELINE))
    return (
        "A beta-VAE learned measured Raman spectra: {} different ones of {} minerals, {} to {} of "
        "each. These are few, so every number below has a wide interval.".format(*names),
        f"{len(findings.copies)} more spectra of the file are exact copies, some under the name of "
        "another mineral (all labradorites and bytownites also count as anorthites). Each was "
        "used once, since a copy on the other side of a split would be recognised by itself. "
        "The file does not say which spectra come from one specimen, so the same stone, measured "
        "again, may lie on both sides: accuracies for new stones are likely to be lower, "
        "whatever the method.",
        f"Recognition was tested in {findings.num_folds} folds: a held-out spectrum was seen by "
        "nothing that judges it, and only training spectra were augmented. Without noise, the "
        f"nearest code names {_percent(best, 'accuracy')} of the spectra rightly, cosine "
        f"similarity {_percent(plain, 'accuracy')}; with noise of {loud:.0%} of the strongest "
        f"line {_percent(best_loud, 'accuracy')} and {_percent(plain_loud, 'accuracy')}.",
        "The latent that moves a line furthest makes "
        f"{lines['top_share'].median():.0%} of what all of them move (median of {len(lines)} known "
        f"lines). In its mineral's pseudo-spectrum a line of median height {strong:.2f} and above "
        f"keeps {kept(lines['measured'] >= strong)} of its height, a lower one "
        f"{kept(lines['measured'] < strong)} (medians).",
        f"The axis ends at {spectra.shift[-1]:g} cm^-1: gypsum's sulphate lines lie on it, its "
        "water lines (1620 and 3400 to 3500 cm^-1) do not, nor does diamond's line (1332 cm^-1), "
        "whose spectra here are background alone.",
    )


def _list_headlines(findings: SpectraFindings) -> tuple[Headline, ...]:
    accuracy, lines = findings.accuracy, findings.line_summary
    of = (
        f"mean of {accuracy['num_spectra'].iloc[0]} held-out spectra and "
        f"{accuracy['num_seeds'].iloc[0]} seeds, 95 % over spectra"
    )
    headlines = []
    for noise in (accuracy["noise"].min(), accuracy["noise"].max()):
        for method in ("archetype", "code", BASELINE):
            row = _at(accuracy, method, noise)
            headlines.append(
                Headline(
                    f"Recognised at {noise:.0%} noise: {METHODS[method]}",
                    row["accuracy"],
                    row["accuracy_low"],
                    row["accuracy_high"],
                    of,
                )
            )
    headlines.append(
        Headline(
            "Share of a line's movement that its first latent has",
            lines["top_share"].median(),
            lines["top_share"].min(),
            lines["top_share"].max(),
            f"median of {len(lines)} lines, least and greatest line",
        )
    )
    return tuple(headlines)


def _judge_claims(findings: SpectraFindings) -> tuple[Claim, ...]:
    accuracy, compared, lines = findings.accuracy, findings.compared, findings.line_summary
    common = [find_common_latent(table, "Gypsum") for table in findings.lines]
    gypsum = lines[lines["line"].str.startswith("Gypsum")]
    strongest = gypsum.set_index("line").loc["Gypsum 1008"]
    weak = gypsum.set_index("line").loc["Gypsum 494"]
    means = compared.groupby("spectrum")[["pseudo", "mean", "single"]].mean()
    to_mean, to_single = (
        interval((means["pseudo"] - means[other]).to_numpy(), findings.seed)
        for other in ("mean", "single")
    )
    noisy = accuracy[(accuracy["method"] == "archetype") & (accuracy["noise"] > 0)]
    differences = "; ".join(
        f"at {row.noise:.0%} noise {100 * row.difference:+.1f} points "
        f"({100 * row.difference_low:+.1f} to {100 * row.difference_high:+.1f})"
        for row in noisy.itertuples()
    )
    return (
        Claim(
            "Of gypsum's spectrum, one latent moves the water lines and another one the "
            "sulphate lines.",
            f"{SOURCE}, row B11",
            "open",
            f"These spectra end at {findings.spectra.shift[-1]:g} cm^-1; the water lines lie at "
            "1620 and 3400 to 3500 cm^-1. Only the sulphate lines could be measured.",
        ),
        Claim(
            "One latent moves gypsum's sulphate lines, alone and all of them.",
            f"{SOURCE}, row B11",
            judge_common_latent(findings.lines, "Gypsum"),
            f"Of the {len(gypsum)} lines the same latent is first at "
            f"{', '.join(str(count) for _, count in common)} (one number per seed). A line's "
            f"first latent makes {gypsum['share_least'].min():.0%} to "
            f"{gypsum['share_greatest'].max():.0%} of the movement that all latents "
            f"make, that of the strongest (1008 cm^-1) {strongest['share_least']:.0%} to "
            f"{strongest['share_greatest']:.0%}; to have a line alone means more than "
            f"{OWN_SHARE:.0%}. Nor is a line gypsum's own: at "
            f"1008 cm^-1 {strongest['shared_by']} of the other minerals are at least half as "
            "high, so a latent that moves it serves them too.",
        ),
        Claim(
            "The decoded mean code of a class is its ideal example.",
            f"{SOURCE}, row B6",
            judge(to_mean["low"] > 0, to_mean["high"] < 0),
            f"Cosine similarity of held-out spectra with their mineral's pseudo-spectrum is "
            f"{means['pseudo'].mean():.3f}, with the mean of the training spectra "
            f"{means['mean'].mean():.3f}, with single training spectra "
            f"{means['single'].mean():.3f}. Pseudo-spectrum less mean: {_signed(to_mean)}; less "
            f"single: {_signed(to_single)} ({len(means)} spectra, 95 %). Gypsum's line at "
            f"494 cm^-1 has the height {weak['measured']:.2f} as measured and "
            f"{weak['pseudo']:.2f} in the pseudo-spectrum.",
        ),
        Claim(
            "A noisy input is recognised better by its nearest archetype in latent space than by "
            "comparing the inputs themselves.",
            f"{SOURCE}, row B7",
            judge_recognition(accuracy, "archetype"),
            "Share recognised by the nearest archetype less that by cosine similarity with the "
            f"training spectra: {differences} (95 % over {noisy['num_spectra'].iloc[0]} "
            "spectra)."
            if len(noisy)
            else "No level of noise was tried.",
        ),
    )


def _signed(found: Mapping[str, float]) -> str:
    return f"{found['value']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"


PICTURES = (
    Picture(
        "traversals_gypsum.png",
        "Every latent, from gypsum",
        "What is decoded as one latent goes from -3 (blue) to +3 (red) and the others stay as "
        "in gypsum's mean code. Dashed: gypsum's sulphate lines; marks "
        "at the top: lines of other minerals. The latents are those of one "
        "training, the one of most KL first.",
    ),
    Picture(
        "traversals_calcite.png",
        "Every latent, from calcite",
        "The same from calcite's mean code, with the lines of the carbonate and the lattice.",
    ),
    Picture(
        "lines.png",
        "Which latent moves which line",
        "Rows are lines known from the literature, columns latents of one training. A number "
        "is how far the line's height moves on the way from -3 to +3, in hundredths of the "
        "strongest line, mean over the measured spectra of its mineral.",
    ),
    Picture(
        "pseudo_spectra.png",
        "Pseudo-spectra",
        "The decoded mean code of a mineral over its measured spectra; dashed: known lines. "
        "Narrow lines come out lower where their position differs from spectrum to spectrum.",
    ),
    Picture(
        "accuracy.png",
        "Recognition of noisy spectra",
        "Share of held-out spectra whose mineral is named rightly, over white noise in the "
        "strongest line's height; bars: 95 % over spectra (left) and over minerals (right).",
    ),
)
TABLES = (
    Table(
        "accuracy.csv",
        "Recognition, in numbers",
        "difference: to cosine similarity with the training spectra, paired; least and greatest "
        "are those of the seeds.",
    ),
    Table(
        "lines.csv",
        "How far one latent has a line to itself",
        "top_share: part of the movement of all latents that the first one makes; median, least "
        "and greatest over the seeds. top_swing: that latent's movement of the line. shared_by: "
        "other minerals at least half as high there. measured and pseudo: height in the mean of "
        "the measured spectra and in the pseudo-spectrum.",
    ),
    Table(
        "pseudo_spectra.csv",
        "Pseudo-spectra against held-out spectra",
        "Cosine similarity of held-out spectra with the pseudo-spectrum, the mean and single "
        "training spectra; strongest line of the pseudo-spectrum and of the measured mean.",
    ),
    Table(
        "latents.csv",
        "The latents of the model shown",
        "KL in nats, the mean movement of all known lines, and the line moved most.",
    ),
)
