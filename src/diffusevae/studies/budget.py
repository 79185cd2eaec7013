"""Where the Fréchet distance of generated images comes from, part by part.

Each part is the difference between two sets that differ in one thing, so the parts add up to the
distance of what the default sampler generates. A negative part is a gain.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffusevae.figures.drawing import COLOURS, INK, MUTED, panels
from diffusevae.metrics.frechet_intervals import frechet_difference

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


def split_distance(features: Mapping[str, np.ndarray], reference: np.ndarray) -> pd.DataFrame:
    """Return part, value, low, high (95 % intervals) for each of PARTS.

    features: N x D by set, N the same, the same noise in the same row; reference: M x D of real
    images. All are extrapolated to infinitely many images, so that the parts add up.
    """
    return pd.DataFrame(
        [
            {"part": part}
            | frechet_difference(
                reference, features[now], None if before is None else features[before]
            )
            for part, (now, before) in PARTS.items()
        ]
    )


def draw_budget(rows: pd.DataFrame) -> Figure:
    """Return the parts as bars that start where the one before ends, with their intervals."""
    figure, ((axes,),) = panels(1, 1, 0.9 + 0.62 * len(rows))
    steps, start = list(PARTS)[: len(CHAIN)], 0.0
    for y, row in enumerate(rows.itertuples()):
        is_step = row.part in steps
        left = start if is_step else 0.0
        colour = COLOURS["ddpm"] if row.value <= 0 else COLOURS["real"]
        axes.barh(
            y, row.value, left=left, height=0.55, color=colour if is_step else MUTED, alpha=0.55
        )
        axes.plot([left + row.low, left + row.high], [y, y], color=INK, linewidth=1.5)
        axes.annotate(
            f"{row.value:+.1f}",
            (max(left + row.high, left), y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=INK,
        )
        start = left + row.value
    axes.set_yticks(
        range(len(rows)), [part.replace(": ", ":\n", 1) for part in rows["part"]], color=INK
    )
    axes.invert_yaxis()
    axes.margins(x=0.22)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Fréchet distance ↓, extrapolated to infinitely many images")
    return figure
