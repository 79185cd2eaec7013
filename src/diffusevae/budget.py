"""Where the Fréchet distance of generated images comes from, part by part (ROWS N10).

Each part is the difference between two sets that differ in one thing, so the parts add up to the
distance of what the default sampler generates. A negative part is a gain.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from diffusevae.distribution import frechet_distance
from diffusevae.drawing import COLOURS, INK, MUTED, panels

# The sets of images, each with one thing more changed than the one before; real codes come first.
CHAIN = ("x_hat", "vae_gmm", "diffusevae_converged", "diffusevae")
PARTS = {
    "VAE: reconstructions of real images": ("x_hat", None),
    "prior: codes from the GMM, not of real images": ("vae_gmm", "x_hat"),
    "refiner: DiffuseVAE's converged refinement": ("diffusevae_converged", "vae_gmm"),
    "sampler: the default's few steps": ("diffusevae", "diffusevae_converged"),
    "all together": ("diffusevae", None),
    "(prior, if it were N(0, I))": ("vae_prior", "x_hat"),
}


def split_distance(
    features: Mapping[str, np.ndarray], reference: np.ndarray, num_resamples: int, seed: int
) -> pd.DataFrame:
    """Return part, value, low, high (95 % intervals) for each of PARTS.

    features: N x D by set, N the same; reference: M x D of real test images. Sets are resampled by
    the same places, so the noise they share cancels.
    """
    rng = np.random.default_rng(seed)
    count = len(features["x_hat"])
    with threadpool_limits(1, user_api="blas"):  # matrices this small gain nothing from threads
        whole = _distances(features, reference, slice(None))
        draws = [_distances(features, reference, rng.integers(0, count, count))
                 for _ in range(num_resamples)]  # fmt: skip
    rows = []
    for part in PARTS:
        values = [_part(distances, part) for distances in draws]
        value = _part(whole, part)
        low, high = np.quantile(values, [0.025, 0.975])
        # A resample repeats images, which makes every distance larger: take the spread alone.
        middle = float(np.mean(values))
        rows.append({"part": part, "value": value, "low": value + low - middle,
                     "high": value + high - middle})  # fmt: skip
    return pd.DataFrame(rows)


def _distances(
    features: Mapping[str, np.ndarray], reference: np.ndarray, places: slice | np.ndarray
) -> dict[str, float]:
    return {name: frechet_distance(reference, found[places]) for name, found in features.items()}


def _part(distances: Mapping[str, float], part: str) -> float:
    now, before = PARTS[part]
    return distances[now] - (distances[before] if before else 0.0)


def draw_budget(rows: pd.DataFrame) -> Figure:
    """Return the parts as bars that start where the one before ends, with their intervals."""
    figure, ((axes,),) = panels(1, 1, 0.9 + 0.62 * len(rows))
    steps, start = list(PARTS)[: len(CHAIN)], 0.0
    for y, row in enumerate(rows.itertuples()):
        is_step = row.part in steps
        left = start if is_step else 0.0
        colour = COLOURS["ddpm"] if row.value <= 0 else COLOURS["real"]
        axes.barh(y, row.value, left=left, height=0.55, color=colour if is_step else MUTED,
                  alpha=0.55)  # fmt: skip
        axes.plot([left + row.low, left + row.high], [y, y], color=INK, linewidth=1.5)
        axes.annotate(f"{row.value:+.1f}", (max(left + row.high, left), y), xytext=(6, 0),
                      textcoords="offset points", va="center", color=INK)  # fmt: skip
        start = left + row.value
    axes.set_yticks(range(len(rows)), [part.replace(": ", ":\n", 1) for part in rows["part"]],
                    color=INK)  # fmt: skip
    axes.invert_yaxis()
    axes.margins(x=0.22)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Fréchet distance ↓")
    return figure
