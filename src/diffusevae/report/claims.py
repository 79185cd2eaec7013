"""What the study claims of its models, as statements that a table of results decides.

A claim says which model a metric favours. It is judged twice: by the study's own printed numbers,
and by ours, against the best control (`metrics.verdicts.find_winner`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from diffusevae.metrics.metric import METRICS
from diffusevae.metrics.verdicts import find_winner
from diffusevae.report.reference_study import PRINTED

HOLDS, FAILS, OPEN = "holds", "does not hold", "not proven"
NOT_COMPARABLE = "not comparable"  # results of another scale than the study's


@dataclass(frozen=True)
class StudyClaim:
    """One statement: the model it favours, and by which metric."""

    text: str
    metric: str
    favours: Literal["vae", "diffusevae"]


CLAIMS = (
    StudyClaim("The VAE restores pixels more exactly (MSE)", "mse", "vae"),
    StudyClaim("The VAE has the higher PSNR", "psnr", "vae"),
    StudyClaim("DiffuseVAE keeps structure better (SSIM)", "ssim", "diffusevae"),
    StudyClaim("DiffuseVAE is superior at edges (EdgeSim)", "edge_sim", "diffusevae"),
    StudyClaim(
        "DiffuseVAE is perceptually better in several scenarios (LPIPS)", "lpips", "diffusevae"
    ),
    StudyClaim("DiffuseVAE is a little weaker in grey values (HistSim)", "hist_sim", "vae"),
)


def judge_printed(claim: StudyClaim, dataset: str) -> str:
    """Return whether the study's own table supports its claim."""
    row = {model: PRINTED[dataset][model][claim.metric] for model in ("vae", "diffusevae")}
    sign = 1 if METRICS[claim.metric].better == "lower" else -1
    return HOLDS if min(row, key=lambda model: sign * row[model]) == claim.favours else FAILS


def judge_ours(claim: StudyClaim, paired: Mapping) -> str:
    """Return whether our results support the claim; `paired` is metrics.json's."""
    winner = find_winner(claim.metric, paired)
    if not winner:
        return OPEN
    return HOLDS if (winner == "diffusevae") == (claim.favours == "diffusevae") else FAILS
