"""The ex-post density over the latents: a Gaussian mixture fitted to mu of the training images.

At a low kl_weight N(0, I) is not where the codes are; sampling from this density instead makes the
decoder generate (Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4).
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Generator, Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import Range
from diffusevae.core.tensor_file import load_config, load_tensors, of_one_model, save_tensors


@dataclass(frozen=True)
class MixtureConfig:
    """Number of Gaussians, the form of their covariances, and EM's most iterations."""

    num_components: Annotated[int, Range(1, 10_000)]
    covariance: Literal["full", "diag"]
    max_iterations: Annotated[int, Range(1, 10_000)]


@dataclass(frozen=True, eq=False)
class Mixture:
    """A Gaussian mixture over flattened latents.

    weights K, means K x D, factors K x D x D (lower Cholesky factors of the covariances) or K x D
    (standard deviations) where covariances are diagonal; latent_shape is Cz x h x w with product D.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor
    latent_shape: tuple[int, ...]

    def sample(self, num: int, rng: Generator) -> Tensor:
        """Return num latents, num x Cz x h x w, on the CPU."""
        components = torch.multinomial(self.weights, num, replacement=True, generator=rng)
        eps = torch.randn(num, self.means.shape[1], generator=rng)
        if self.factors.dim() == 2:
            offsets = self.factors[components] * eps
        else:
            offsets = torch.empty_like(eps)
            for component in components.unique().tolist():
                mine = components == component
                offsets[mine] = eps[mine] @ self.factors[component].T
        return (self.means[components] + offsets).reshape(num, *self.latent_shape)


def fit_mixture(config: MixtureConfig, mu: Tensor, seed: int) -> Mixture:
    """Fit the mixture to mu (N x Cz x h x w) by expectation maximisation.

    Raises InputError where there are fewer images than components, or covariances are singular.
    """
    from sklearn.mixture import GaussianMixture

    if len(mu) < config.num_components:
        raise InputError(
            f"num_components {config.num_components}: only {len(mu)} images to fit "
            "them to; use fewer"
        )
    mixture = GaussianMixture(
        config.num_components,
        covariance_type=config.covariance,
        max_iter=config.max_iterations,
        reg_covar=1e-4,
        random_state=seed,
        tol=1e-2,
    )
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # max_iterations ends the fit, converged or not
        try:
            mixture.fit(mu.flatten(1).double().numpy())  # float32 loses small variances
        except ValueError as error:
            raise InputError(
                f"prior.covariance: {config.covariance}: covariances cannot be told "
                "from rounding; use diag, or fewer components"
            ) from error
    weights, means, covariances = (
        torch.from_numpy(values)
        for values in (mixture.weights_, mixture.means_, mixture.covariances_)
    )
    diagonal = config.covariance == "diag"
    factors = covariances.sqrt() if diagonal else torch.linalg.cholesky(covariances)
    return Mixture(weights.float(), means.float(), factors.float(), tuple(mu.shape[1:]))


def save_mixture(path: Path, mixture: Mixture) -> None:
    """Write the mixture."""
    tensors = {"weights": mixture.weights, "means": mixture.means, "factors": mixture.factors}
    save_tensors(path, tensors, {"latent_shape": mixture.latent_shape})


@of_one_model
def load_mixture(path: Path) -> Mixture:
    """Return the mixture of a file. Raises InputError if it cannot be read."""
    return Mixture(**load_tensors(path), latent_shape=tuple(load_config(path)["latent_shape"]))
