"""Numbers with their intervals, and what they prove: for the sentences of a chapter."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from torch import Tensor

from diffusevae.core.randomness import seed_of
from diffusevae.metrics.bootstrap import interval

Verdict = Literal["holds", "fails", "open"]


def spread(values: np.ndarray | Tensor, seed: int, name: str) -> dict[str, float]:
    """Return the mean of N values with its 95 % interval as columns: name, name_low, name_high."""
    found = interval(np.asarray(values, dtype=np.float64), seed_of(seed, name))
    return {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}


def describe(row: Mapping[str, float], name: str, digits: int = 4) -> str:
    """Return what `spread` found as text: value [low, high]."""
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def judge(better: bool, worse: bool) -> Verdict:
    """Return the verdict on a claim: what the intervals prove for it, against it, or neither."""
    return "holds" if better else "fails" if worse else "open"
