"""Classical ways to fill in unknown pixels: each learns at most from training images' pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# From observed images (N x C x H x W in [0,1]; what is unknown is 0) and a setting to whole images.
Fill = Callable[[Tensor, float], Tensor]
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)  # variances added to that of every known pixel
NEIGHBOURS = (1, 3, 5, 10, 20, 40, 80)
ROUNDS = 500  # of an averaging that goes half an image's side far


@dataclass(frozen=True, eq=False)
class PixelGaussian:
    """Mean (D) and covariance of images' pixels, this as factor.T @ factor.

    factor: K x D float64, K the number of images or of pixels, whichever is less. So no matrix is
    larger than that, as D x D would be for large pictures of which there are few.
    """

    mean: Tensor
    factor: Tensor


def fit_pixels(train: Tensor) -> PixelGaussian:
    """Return the moments of images N x C x H x W in [0,1]."""
    x = train.flatten(1)
    mean = x.double().mean(0)
    if len(x) <= x.shape[1]:
        return PixelGaussian(mean, (x.double() - mean) / len(x) ** 0.5)
    covariance = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    for part in x.split(4096):
        offsets = part.double() - mean
        covariance += offsets.T @ offsets
    variances, directions = torch.linalg.eigh(covariance / len(x))
    return PixelGaussian(mean, variances.clamp(min=0).sqrt()[:, None] * directions.T)


def expect(pixels: PixelGaussian, observed: Tensor, known: Tensor, ridge: float) -> Tensor:
    """Return E[x | known pixels] if images were Gaussian: the best linear estimate."""
    seen = known.flatten().bool()
    x = observed.flatten(1).double()
    weights = _find_weights(pixels.factor[:, seen], x[:, seen] - pixels.mean[seen], ridge)
    filled = x.clone()
    filled[:, ~seen] = pixels.mean[~seen] + weights @ pixels.factor[:, ~seen]
    return filled.clamp(0, 1).float().reshape(observed.shape)


def expect_less_noise(pixels: PixelGaussian, noisy: Tensor, noise: float) -> Tensor:
    """Return E[x | x + noise] if images were Gaussian; noise: standard deviation."""
    offsets = noisy.flatten(1).double() - pixels.mean
    weights = _find_weights(pixels.factor, offsets, noise**2)
    clean = pixels.mean + weights @ pixels.factor
    return clean.clamp(0, 1).float().reshape(noisy.shape)


def _find_weights(factor: Tensor, offsets: Tensor, variance: float) -> Tensor:
    """Return, of x = w factor + noise of that variance and w ~ N(0, I), E[w | x]: N x K.

    offsets (N x D): x. As (F' F + v I)^-1 F' = F' (F F' + v I)^-1, it takes a K x K matrix.
    """
    own = factor @ factor.T
    own.diagonal().add_(variance)
    return torch.linalg.solve(own, factor @ offsets.T).T


def find_neighbours(train: Tensor, observed: Tensor, known: Tensor, count: int) -> Tensor:
    """Return which training images are the nearest by the known pixels: N x count."""
    seen = known.flatten().bool()
    distances = torch.cdist(observed.flatten(1)[:, seen], train.flatten(1)[:, seen])
    return distances.topk(min(count, len(train)), largest=False).indices


def average_neighbours(train: Tensor, observed: Tensor, known: Tensor, count: float) -> Tensor:
    """Return the mean of the nearest training images, with the known pixels as they are."""
    mean = train[find_neighbours(train, observed, known, int(count))].mean(1)
    return known * observed + (1 - known) * mean


def diffuse(observed: Tensor, known: Tensor) -> Tensor:
    """Return images whose unknown pixels are each the mean of their four neighbours.

    The solution of Laplace's equation with the known pixels as its boundary, by Jacobi's method
    (harmonic inpainting); beyond the border an image goes on as it ends.
    """
    x = observed
    for _ in range(ROUNDS):
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
        around = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
        around = around + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
        x = known * observed + (1 - known) * around / 4
    return x


def list_fills(
    train: Tensor, pixels: PixelGaussian, known: Tensor
) -> dict[str, tuple[Fill, Sequence[float]]]:
    """Return the classical methods for a mask (C x H x W) with the settings to choose from."""
    return {
        "Gaussian conditional mean": (lambda y, ridge: expect(pixels, y, known, ridge), RIDGES),
        "mean of nearest neighbours": (
            lambda y, count: average_neighbours(train, y, known, count),
            NEIGHBOURS,
        ),
        "harmonic interpolation": (lambda y, _: diffuse(y, known), (0,)),
    }
