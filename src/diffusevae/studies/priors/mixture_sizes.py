"""How many Gaussians a mixture over codes needs: as many as held-out codes are likeliest under."""

import dataclasses
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)

from diffusevae.models.latent_mixture import Mixture, MixtureConfig
from diffusevae.models.mixture_fitting import fit_mixture

AT_ONCE = 100  # codes, each of which is held against every component


def measure_log_density(mixture: Mixture, codes: Tensor) -> Tensor:
    """Return log p of codes (N x Cz x h x w, CPU) under a mixture, in nats: N float64."""
    means, factors = mixture.means.double(), mixture.factors.double()
    components: Distribution
    if factors.dim() == 2:
        components = Independent(Normal(means, factors), 1)
    else:
        components = MultivariateNormal(means, scale_tril=factors)
    whole = MixtureSameFamily(Categorical(mixture.weights.double()), components)
    rows = codes.flatten(1).double()
    return torch.cat([whole.log_prob(part) for part in rows.split(AT_ONCE)])


def choose_mixture(
    config: MixtureConfig,
    sizes: Sequence[int],
    codes: Tensor,
    held_out: Tensor,
    seed: int,
    labels: Tensor | None = None,
) -> tuple[Mixture, pd.DataFrame]:
    """Return the mixture under which held-out codes are likeliest, and a row for each size.

    Codes are N x Cz x h x w; labels (N) are looked at where classes are told apart. A row has
    num_components, and the mean log density of the codes that were fitted (train) and of the
    held-out ones (validation), in nats per code.
    """
    found = []
    for size in sizes:
        one = dataclasses.replace(config, num_components=size)
        mixture = fit_mixture(one, codes, seed, labels)
        train, validation = (
            float(measure_log_density(mixture, each[: len(held_out)].cpu()).mean())
            for each in (codes, held_out)
        )
        row = {"num_components": size, "train": train, "validation": validation}
        found.append((mixture, row))
    best, _ = max(found, key=lambda each: each[1]["validation"])
    return best, pd.DataFrame([row for _, row in found])
