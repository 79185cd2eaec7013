"""The ex-post density over the latents: a Gaussian mixture fitted to mu of the training images.

At a low kl_weight N(0, I) is not where the codes are; sampling from this density instead makes the
decoder generate (Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4).
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import Range
from diffusevae.core.tensor_file import load_config, load_tensors, of_one_model, save_tensors

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

SMALLEST_VARIANCE = 1e-4  # is added to every variance
SCIPY_VARIABLE = "SCIPY_ARRAY_API"
Moments = tuple[Tensor, ...]  # weights K, means K x D, covariances K x D x D or variances K x D


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
    """Fit the mixture to mu (N x Cz x h x w) by expectation maximisation, on the device of mu.

    It is on the CPU. Raises InputError where there are fewer images than components, or covariances
    are singular.
    """
    if len(mu) < config.num_components:
        raise InputError(
            f"num_components {config.num_components}: only {len(mu)} images to fit "
            "them to; use fewer"
        )
    fit = fit_arrays if mu.device.type == "cpu" else fit_tensors
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # max_iterations ends the fit, converged or not
        try:
            # float32 loses small variances
            weights, means, covariances = fit(config, mu.flatten(1).double(), seed)
        except (ValueError, torch.linalg.LinAlgError) as error:
            raise InputError(
                f"prior.covariance: {config.covariance}: covariances cannot be told "
                "from rounding; use diag, or fewer components"
            ) from error
    diagonal = config.covariance == "diag"
    factors = covariances.sqrt() if diagonal else torch.linalg.cholesky(covariances)
    return Mixture(weights.float(), means.float(), factors.float(), tuple(mu.shape[1:]))


def fit_arrays(config: MixtureConfig, codes: Tensor, seed: int) -> Moments:
    """Return the moments of a mixture fitted to codes (N x D float64, on the CPU) by numpy."""
    fitted = _make_estimator(config, random_state=seed).fit(codes.numpy())
    moments = fitted.weights_, fitted.means_, fitted.covariances_
    return tuple(map(torch.from_numpy, moments))


def fit_tensors(config: MixtureConfig, codes: Tensor, seed: int) -> Moments:
    """Return, on the CPU, what `fit_arrays` does but for rounding, fitted on the codes' device.

    There scikit-learn starts from no k-means, so it is told where that on the CPU ends.
    """
    from sklearn.cluster import KMeans

    kmeans = KMeans(config.num_components, n_init=1, random_state=np.random.RandomState(seed))
    labels = torch.from_numpy(kmeans.fit(codes.cpu().numpy()).labels_).long().to(codes.device)
    weights, means, precisions = _describe_clusters(config, codes, labels)
    estimator = _make_estimator(
        config,
        init_params="random_from_data",
        weights_init=weights,
        means_init=means,
        precisions_init=precisions,
    )
    with _tensors_allowed():
        fitted = estimator.fit(codes)
    return fitted.weights_.cpu(), fitted.means_.cpu(), fitted.covariances_.cpu()


def _make_estimator(config: MixtureConfig, **start: Any) -> "GaussianMixture":
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(
        config.num_components,
        covariance_type=config.covariance,
        max_iter=config.max_iterations,
        reg_covar=SMALLEST_VARIANCE,
        tol=1e-2,
        **start,
    )


def _describe_clusters(config: MixtureConfig, codes: Tensor, labels: Tensor) -> Moments:
    """Return weights, means and inverse covariances (or variances) of clusters, some maybe empty.

    As scikit-learn takes them from a k-means. Raises torch.linalg.LinAlgError.
    """
    shares = torch.nn.functional.one_hot(labels, config.num_components).to(codes)
    counts = shares.sum(0) + 10 * torch.finfo(codes.dtype).eps
    means = shares.T @ codes / counts[:, None]
    precisions = []
    for k, (mean, count) in enumerate(zip(means, counts, strict=True)):
        offsets = codes[labels == k] - mean
        if config.covariance == "diag":
            precisions.append(1 / (offsets.square().sum(0) / count + SMALLEST_VARIANCE))
        else:
            covariance = offsets.T @ offsets / count
            covariance.diagonal().add_(SMALLEST_VARIANCE)
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
            precisions.append((inverse + inverse.T) / 2)  # scikit-learn wants it symmetric
    return counts / counts.sum(), means, torch.stack(precisions)


@contextmanager
def _tensors_allowed() -> Iterator[None]:
    """Let scikit-learn compute with tensors where they are (its array API).

    It wants scipy told so by a variable, though nothing that it calls here is scipy's.
    """
    from sklearn import config_context

    before = os.environ.get(SCIPY_VARIABLE)
    os.environ[SCIPY_VARIABLE] = "1"
    try:
        with config_context(array_api_dispatch=True):
            yield
    finally:
        del os.environ[SCIPY_VARIABLE]
        if before is not None:
            os.environ[SCIPY_VARIABLE] = before


def save_mixture(path: Path, mixture: Mixture) -> None:
    """Write the mixture."""
    tensors = {"weights": mixture.weights, "means": mixture.means, "factors": mixture.factors}
    save_tensors(path, tensors, {"latent_shape": mixture.latent_shape})


@of_one_model
def load_mixture(path: Path) -> Mixture:
    """Return the mixture of a file. Raises InputError if it cannot be read."""
    return Mixture(**load_tensors(path), latent_shape=tuple(load_config(path)["latent_shape"]))
