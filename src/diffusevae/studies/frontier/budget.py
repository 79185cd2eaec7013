"""Where the Fréchet distance of generated images comes from, part by part.

Each part is the difference between two sets that differ in one thing, so the parts add up to the
distance of what the default sampler generates. A negative part is a gain.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

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
