"""Fitting of the mixture over codes, by expectation maximisation on the device where they are."""

import dataclasses
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.models.latent_mixture import Mixture, MixtureConfig

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

SCIPY_VARIABLE = "SCIPY_ARRAY_API"
Moments = tuple[Tensor, ...]  # weights K, means K x D, covariances K x D x D or variances K x D


def fit_mixture(
    config: MixtureConfig, mu: Tensor, seed: int, labels: Tensor | None = None
) -> Mixture:
    """Fit the mixture to mu (N x Cz x h x w) by expectation maximisation, on the device of mu.

    It is on the CPU. labels (N) are looked at where classes are told apart. Raises InputError where
    there are fewer images than components, or covariances are singular.
    """
    if config.per_class and labels is not None:
        return _fit_classes(config, mu, seed, labels.to(mu.device))
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


def _fit_classes(config: MixtureConfig, mu: Tensor, seed: int, labels: Tensor) -> Mixture:
    """Fit a mixture to the codes of each class, and weigh it by the class's share of the images."""
    parts, weights, classes = [], [], []
    for label in labels.unique().tolist():
        mine = mu[labels == label]
        share = len(mine) / len(mu)
        count = max(1, round(config.num_components * share))
        own = dataclasses.replace(config, num_components=count, per_class=False)
        parts.append(fit_mixture(own, mine, seed))
        weights.append(share * parts[-1].weights)
        classes += [label] * count
    return Mixture(
        torch.cat(weights),
        torch.cat([part.means for part in parts]),
        torch.cat([part.factors for part in parts]),
        parts[0].latent_shape,
        torch.tensor(classes),
    )


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
        reg_covar=config.added_variance,
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
            precisions.append(1 / (offsets.square().sum(0) / count + config.added_variance))
        else:
            covariance = offsets.T @ offsets / count
            covariance.diagonal().add_(config.added_variance)
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
