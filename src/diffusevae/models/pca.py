"""Principal components: the best linear code for the squared error (Eckart and Young, 1936)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffusevae.data.dataset import to_unit


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """The mean image (D) and the principal axes (D x D, the one of largest variance first)."""

    mean: Tensor
    axes: Tensor

    def encode(self, images: Tensor, numbers: int) -> Tensor:
        """Return the first `numbers` components of uint8 images: N x numbers float64."""
        centred = to_unit(images).flatten(1).double() - self.mean
        return centred @ self.axes[:, :numbers]

    def reconstruct(self, images: Tensor, numbers: int) -> Tensor:
        """Return uint8 images restored from their first `numbers` components, float32 in [0, 1]."""
        restored = self.encode(images, numbers) @ self.axes[:, :numbers].T + self.mean
        return restored.clamp(0, 1).float().reshape(images.shape)


def fit_pca(images: Tensor) -> PrincipalComponents:
    """Fit principal components to uint8 images, N x C x H x W with N >= 2."""
    size = images[0].numel()
    total, products = torch.zeros(size).double(), torch.zeros(size, size).double()
    for part in images.cpu().split(8192):
        x = to_unit(part).flatten(1).double()
        total += x.sum(0)
        products += x.T @ x
    mean = total / len(images)
    _, axes = torch.linalg.eigh(products / len(images) - torch.outer(mean, mean))
    return PrincipalComponents(mean, axes.flip(1))
