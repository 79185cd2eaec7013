"""Sets of images, and of features, that metrics are tried on."""

import numpy as np
import torch

from diffusevae.metrics.distribution import find_covered_by_parts


def blobs(number: int, channels: int = 1, size: int = 32, seed: int = 0) -> torch.Tensor:
    """Grey discs with soft rims on black: pictures with edges, flats and a background."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(number, channels, 2, 1, 1, generator=generator) * 0.5 + 0.25
    grid = torch.linspace(0, 1, size)
    distance = ((grid[:, None] - place[:, :, 0]) ** 2 + (grid - place[:, :, 1]) ** 2).sqrt()
    return torch.sigmoid((0.2 - distance) * 60) * 0.9


def noisy(x: torch.Tensor, sigma: float) -> torch.Tensor:
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    return (x + sigma * eps).clamp(0, 1)


def blurred(x: torch.Tensor, times: int) -> torch.Tensor:
    for _ in range(times):
        x = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1)
    return x


def normal(number: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    """Return number x dim features that are normal."""
    return np.random.default_rng(seed).normal(size=(number, dim))


def find_covered(images: np.ndarray, centres: np.ndarray, k: int) -> np.ndarray:
    """Return which of N images all centres together cover, N booleans."""
    return find_covered_by_parts(images, centres, k, np.ones((1, len(centres)), dtype=bool))[0, 0]
