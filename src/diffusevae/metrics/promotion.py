"""Whether a candidate may take the champion's place: measured, judged, decided.

Both refine the same images and generate from the same seed, so every difference is paired. They are
validation images, for what is promoted is chosen: tables are of test images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from diffusevae.core.params import PositiveCount
from diffusevae.core.randomness import seed_of
from diffusevae.metrics.bootstrap import interval
from diffusevae.metrics.distribution import frechet_distance
from diffusevae.metrics.frechet_intervals import frechet_difference
from diffusevae.metrics.metric import METRICS
from diffusevae.metrics.paired import measure_pairs

JUDGED = ("mse", "ssim", "edge_sim", "hist_sim", "frechet")  # what a rule may be about
Proof = Literal["better", "worse", "not proven"]
BETTER: Proof = "better"
WORSE: Proof = "worse"
NOT_PROVEN: Proof = "not proven"
PROMOTE, REFUSE, HOLD = "promote", "refuse", "hold"


@dataclass(frozen=True)
class GateConfig:
    """The rule: promote what is better by one metric at least and worse by none.

    margins: for each metric that decides, the smallest difference that matters; less than trainings
    with other seeds differ by is none (docs/team.md). num_images validation images are refined by
    both, and as many generated; others are the reference of these.
    """

    num_images: PositiveCount
    num_resamples: PositiveCount
    seed: PositiveCount
    margins: dict

    def __post_init__(self) -> None:
        if not self.margins or not set(self.margins) <= set(JUDGED):
            raise ValueError(f"margins: expected some of {', '.join(JUDGED)}")
        for name, margin in self.margins.items():
            if type(margin) not in (int, float) or not 0 <= margin < float("inf"):
                raise ValueError(f"margins.{name}: {margin!r} is no number from 0 on")


@dataclass(frozen=True, eq=False)
class Made:
    """What one version made: refined and generated images, N x C x H x W in [0, 1]."""

    refined: Tensor
    generated: Tensor


@dataclass(frozen=True)
class Judgement:
    """One metric: both values, candidate minus champion with its 95 % interval, and the verdict.

    The difference of Fréchet distances is extrapolated to infinitely many images (`intervals`), the
    values are those of the images at hand.
    """

    metric: str
    candidate: float
    champion: float
    difference: Mapping[str, float]
    verdict: Proof


def judge_all(
    candidate: Made,
    champion: Made,
    real: Tensor,
    reference: np.ndarray,
    features: Callable[[Tensor], np.ndarray],
    config: GateConfig,
) -> list[Judgement]:
    """Return a judgement by each metric of the rule.

    real: N x C x H x W, the images refined; reference: features (M x D) of other real images.
    """
    judgements = []
    pairs = [measure_pairs(real, made.refined) for made in (candidate, champion)]
    for name, margin in config.margins.items():
        if name == "frechet":
            found = [features(made.generated) for made in (candidate, champion)]
            mine, other = (frechet_distance(reference, each) for each in found)
            difference = frechet_difference(reference, *found)
        else:
            ours, theirs = (values[name].double().numpy() for values in pairs)
            mine, other = ours.mean(), theirs.mean()
            difference = interval(
                ours - theirs, seed_of(config.seed, "gate", name), config.num_resamples
            )
        judgements.append(
            Judgement(
                name,
                float(mine),
                float(other),
                difference,
                judge_difference(name, difference, margin),
            )
        )
    return judgements


def judge_difference(name: str, difference: Mapping[str, float], margin: float) -> Proof:
    """Return whether a difference with that interval is better, worse, or neither is proven."""
    low, high = difference["low"], difference["high"]
    if METRICS[name].better == "lower":
        low, high = -high, -low
    if low > margin:
        return BETTER
    return WORSE if high < -margin else NOT_PROVEN


def decide(judgements: list[Judgement], faults: Sequence[str] = ()) -> tuple[str, str]:
    """Return promote, refuse or hold, and the reason in one sentence.

    faults: what forbids the candidate, however good its images look: copies of real ones among its
    new ones, classes that these leave out.
    """
    if faults:
        return REFUSE, "; ".join(faults)
    by = {
        verdict: [METRICS[each.metric].name for each in judgements if each.verdict == verdict]
        for verdict in (BETTER, WORSE, NOT_PROVEN)
    }
    if by[WORSE]:
        return REFUSE, f"worse by {', '.join(by[WORSE])}"
    if by[BETTER]:
        return PROMOTE, f"better by {', '.join(by[BETTER])}, worse by nothing"
    return HOLD, f"no difference that matters is proven by {', '.join(by[NOT_PROVEN])}"
