"""Few steps by non-inferiority: proven to lose less than a margin, chosen, then confirmed once.

A difference that "cannot be told from zero" says nothing where few images were measured. Here a
setting passes only where the end of its difference's interval lies within the margin, by each
quantity (both must pass, so that no correction is needed between them: Berger, 1982). One of many
settings is picked on validation images, so LEVEL is shared out among all that were tried
(Bonferroni). That holds however their results hang together, and needs no order of the settings: a
fixed sequence of tests would stop at the first sampler that fails, and quality does not fall evenly
with the steps of each. The one that is picked is measured once more on test images, where it is the
only one tried.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated

import numpy as np
import pandas as pd

from diffusevae.core.params import Range
from diffusevae.core.randomness import seed_of
from diffusevae.metrics.bootstrap import interval
from diffusevae.metrics.distribution import frechet_distance
from diffusevae.metrics.frechet_intervals import frechet_at_infinity, frechet_difference
from diffusevae.metrics.intervals import Z_95

LEVEL = 0.025  # of a wrong choice, one-sided, over all settings tried
JUDGED = ("diffusevae_frechet", "diffusevae_ssim")  # what the default is chosen by
QUANTITIES = ("ddpm_frechet", *JUDGED)


@dataclass(frozen=True)
class Margins:
    """The largest losses against the converged sampler that do not matter.

    ssim: of refinements; frechet: of the Fréchet distance of new images, extrapolated to infinitely
    many.
    """

    ssim: Annotated[float, Range(0, 1)]
    frechet: Annotated[float, Range(0, 1e6)]

    def __post_init__(self) -> None:
        for name, margin in dataclasses.asdict(self).items():
            if margin == 0:
                raise ValueError(
                    f"{name}: 0, but no sampler can be proven to lose nothing at all; set it to "
                    "the largest loss that does not matter"
                )


@dataclass(frozen=True)
class Trial:
    """What samplers are judged by: num_tried of them, on the same images.

    reference: features (M x D) of other real images; seed and num_resamples: of the bootstrap.
    """

    margins: Margins
    num_tried: int
    reference: np.ndarray
    num_resamples: int
    seed: int


def compare_points(
    point: Mapping[str, np.ndarray], best: Mapping[str, np.ndarray], trial: Trial
) -> dict[str, float | bool]:
    """Return a row: each quantity of a point, and its difference from the converged one's.

    point and best: features N x D, or SSIM N, by quantity. Differences have 95 % intervals
    (`_low`, `_high`) and are paired: both sides have the same images and noise. That of Fréchet
    distances is extrapolated to infinitely many images (`intervals`); `_converged` is the converged
    one's value at as many images as the point's. `_bound` is the worst that the difference may be
    at LEVEL over all num_tried settings; `_non_inferior`: it is within the margin.
    """
    row: dict[str, float | bool] = {}
    quantile = NormalDist().inv_cdf(1 - LEVEL / trial.num_tried)
    for name in (each for each in QUANTITIES if each in point):
        if name.endswith("ssim"):
            row[name], end = float(point[name].mean()), float(best[name].mean())
            change = point[name] - best[name]
            found = interval(change, seed_of(trial.seed, name), trial.num_resamples)
            error = float(change.std(ddof=1)) / len(change) ** 0.5
            bound = found["value"] - quantile * error
            passed = bool(bound > -trial.margins.ssim)
        else:
            row[name], end = (
                frechet_distance(trial.reference, each[name]) for each in (point, best)
            )
            found = frechet_difference(trial.reference, point[name], best[name])
            error = (found["high"] - found["value"]) / Z_95
            bound = found["value"] + quantile * error
            passed = bool(bound < trial.margins.frechet)
        row |= {
            f"{name}_converged": end,
            f"{name}_change": found["value"],
            f"{name}_low": found["low"],
            f"{name}_high": found["high"],
            f"{name}_bound": bound,
            f"{name}_non_inferior": passed,
        }
    return row


def find_ratios(rows: pd.DataFrame, best: Mapping[str, np.ndarray], trial: Trial) -> pd.Series:
    """Return each row's Fréchet distance of DiffuseVAE over the converged sampler's.

    Of infinitely many images, so that both are net of what real images have among themselves: at
    the images at hand that floor can be more than half of either. NaN where the converged
    sampler's distance, net, is not above zero.
    """
    end = frechet_at_infinity(trial.reference, best["diffusevae_frechet"])["value"]
    return 1 + rows["diffusevae_frechet_change"] / (end if end > 0 else np.nan)


def passes(row: Mapping[str, float | bool]) -> bool:
    """Return whether a row of `compare_points` is within the margins by all that is judged."""
    return all(bool(row[f"{name}_non_inferior"]) for name in JUDGED)


def choose_point(rows: pd.DataFrame) -> dict[str, object] | None:
    """Return sampler, eta and num_steps of the fewest steps that are proven within the margins.

    Of several samplers with as few steps the one with the smallest Fréchet distance; None where
    nothing is proven of any.
    """
    good = rows[[passes(row) for row in rows.to_dict("records")]]
    if not len(good):
        return None
    best = good.sort_values(["num_steps", "diffusevae_frechet"], kind="stable").iloc[0]
    return {
        "sampler": best["sampler"],
        "eta": float(best["eta"]),
        "num_steps": int(best["num_steps"]),
    }
