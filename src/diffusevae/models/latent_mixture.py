"""The ex-post density over the latents: a Gaussian mixture fitted to mu of the training images.

At a low kl_weight N(0, I) is not where the codes are; sampling from this density instead makes the
decoder generate (Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Generator, Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import Range
from diffusevae.core.tensor_file import load_config, load_tensors, of_one_model, save_tensors
from diffusevae.models.conditions import check_labels


@dataclass(frozen=True)
class MixtureConfig:
    """Number of Gaussians, the form of their covariances, and EM's most iterations.

    per_class: every class has Gaussians of its own, as many as its share of the images.
    added_variance: to that of every number of a code, in each Gaussian. The more Gaussians there
    are, the fewer codes tell of each, and the more it takes (docs/extensions.md, priors).
    """

    num_components: Annotated[int, Range(1, 10_000)]
    covariance: Literal["full", "diag"]
    max_iterations: Annotated[int, Range(1, 10_000)]
    per_class: bool = False
    added_variance: Annotated[float, Range(1e-8, 1)] = 1e-4


@dataclass(frozen=True, eq=False)
class Mixture:
    """A Gaussian mixture over flattened latents.

    weights K, means K x D, factors K x D x D (lower Cholesky factors of the covariances) or K x D
    (standard deviations) where covariances are diagonal; latent_shape is Cz x h x w with product D.
    classes K: the class whose codes a Gaussian describes, where each describes one.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor
    latent_shape: tuple[int, ...]
    classes: Tensor | None = None

    @property
    def num_classes(self) -> int:
        """How many classes have Gaussians of their own, 0 where they are not told apart."""
        return 0 if self.classes is None else 1 + int(self.classes.max())

    def draw_labels(self, num: int, rng: Generator) -> Tensor | None:
        """Return num classes as frequent as they are, None where classes are not told apart."""
        if self.classes is None:
            return None
        frequencies = torch.bincount(self.classes, self.weights, self.num_classes)
        return torch.multinomial(frequencies, num, replacement=True, generator=rng)

    def sample(self, num: int, rng: Generator, labels: Tensor | None = None) -> Tensor:
        """Return num latents, num x Cz x h x w, on the CPU; labels (num): the classes to draw from.

        Raises InputError for classes that it does not know.
        """
        if labels is None:
            components = torch.multinomial(self.weights, num, replacement=True, generator=rng)
        else:
            components = self._choose_components(labels, rng)
        eps = torch.randn(num, self.means.shape[1], generator=rng)
        if self.factors.dim() == 2:
            offsets = self.factors[components] * eps
        else:
            offsets = torch.empty_like(eps)
            for component in components.unique().tolist():
                mine = components == component
                offsets[mine] = eps[mine] @ self.factors[component].T
        return (self.means[components] + offsets).reshape(num, *self.latent_shape)

    def require_classes(self, labels: Tensor) -> None:
        """Raise InputError unless labels (N) are classes that have Gaussians of their own."""
        if self.classes is None:
            raise InputError(
                "labels: the density of this model's codes knows no classes; leave them out, or "
                "train one with prior.per_class: true"
            )
        check_labels(labels, self.num_classes)

    def _choose_components(self, labels: Tensor, rng: Generator) -> Tensor:
        self.require_classes(labels)
        assert self.classes is not None
        weights = torch.where(self.classes == labels[:, None], self.weights, 0.0)
        return torch.multinomial(weights, 1, generator=rng)[:, 0]


def save_mixture(path: Path, mixture: Mixture) -> None:
    """Write the mixture."""
    tensors = {"weights": mixture.weights, "means": mixture.means, "factors": mixture.factors}
    if mixture.classes is not None:
        tensors["classes"] = mixture.classes
    save_tensors(path, tensors, {"latent_shape": mixture.latent_shape})


@of_one_model
def load_mixture(path: Path) -> Mixture:
    """Return the mixture of a file. Raises InputError if it cannot be read."""
    return Mixture(**load_tensors(path), latent_shape=tuple(load_config(path)["latent_shape"]))
