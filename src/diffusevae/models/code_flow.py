"""A normalising flow over codes (Dinh et al. 2017, "Density estimation using Real NVP").

Affine couplings take codes to a Gaussian mixture, whose modes the flow need not tear apart itself
(Izmailov et al. 2020, "Semi-supervised learning with normalizing flows", section 3). They begin as
the identity, where the mixture ends; the log density is exact, and what they are trained by.
"""

import math

import torch
from torch import Generator, Tensor, nn

from diffusevae.models.latent_mixture import Mixture
from diffusevae.models.layers import zero_init

NUM_COUPLINGS = 8
MOST_SCALING = 0.5  # of a coupling, as a logarithm: without a bound some samples fly away


class Coupling(nn.Module):
    """Scales and shifts a half of D numbers, drawn at first, as the other half says."""

    moved: Tensor
    kept: Tensor

    def __init__(self, numbers: int, width: int) -> None:
        super().__init__()
        moved, kept = torch.randperm(numbers).tensor_split([numbers // 2])
        self.register_buffer("moved", moved)
        self.register_buffer("kept", kept)
        self.layers = nn.Sequential(
            nn.Linear(len(kept), width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            zero_init(nn.Linear(width, 2 * len(moved))),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y (B x D), and log |det dy/dx| (B)."""
        logs, shifts = self._answer(x)
        moved = x[:, self.moved] * logs.exp() + shifts
        return x.index_copy(1, self.moved, moved), logs.sum(1)

    def invert(self, y: Tensor) -> Tensor:
        """Return the x that forward takes to y."""
        logs, shifts = self._answer(y)
        moved = (y[:, self.moved] - shifts) / logs.exp()
        return y.index_copy(1, self.moved, moved)

    def _answer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logs, shifts = self.layers(x[:, self.kept]).chunk(2, dim=1)
        return MOST_SCALING * torch.tanh(logs / MOST_SCALING), shifts


class CodeFlow(nn.Module):
    """A density over codes Cz x h x w, from a mixture that was fitted to codes like these.

    Couplings see codes whitened, as the mixture's mean and covariance say.
    """

    mean: Tensor  # D
    axes: Tensor  # D x D
    deviations: Tensor  # D
    inverses: Tensor  # K x D x D, of the Gaussians' factors
    places: Tensor  # K x D, the Gaussians' means by these
    heights: Tensor  # K

    def __init__(self, mixture: Mixture, width: int) -> None:
        super().__init__()
        self.mixture = mixture
        mean, axes, deviations = _describe(mixture)
        inverses = torch.linalg.inv(_square_factors(mixture))
        values = {
            "mean": mean,
            "axes": axes,
            "deviations": deviations,
            "inverses": inverses,
            "places": torch.einsum("kij,kj->ki", inverses, mixture.means.double()),
            "heights": mixture.weights.double().log()
            + inverses.diagonal(dim1=1, dim2=2).log().sum(1)
            - len(mean) / 2 * math.log(2 * math.pi),
        }
        for name, value in values.items():
            self.register_buffer(name, value.float())
        self.couplings = nn.ModuleList(Coupling(len(mean), width) for _ in range(NUM_COUPLINGS))

    def to_base(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return where codes come to in the mixture's space (B x D), and log |det| of it (B)."""
        x = (codes.flatten(1) - self.mean) @ self.axes / self.deviations
        log_det = torch.zeros_like(x[:, 0])
        for coupling in self.couplings:
            x, change = coupling(x)
            log_det = log_det + change
        return (x * self.deviations) @ self.axes.T + self.mean, log_det

    def from_base(self, rows: Tensor) -> Tensor:
        """Return the codes, B x Cz x h x w, that come to rows (B x D)."""
        x = (rows - self.mean) @ self.axes / self.deviations
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            x = coupling.invert(x)
        codes = (x * self.deviations) @ self.axes.T + self.mean
        return codes.unflatten(1, self.mixture.latent_shape)

    def log_prob(self, codes: Tensor) -> Tensor:
        """Return log p of codes (B x Cz x h x w) in nats: B."""
        rows, log_det = self.to_base(codes)
        scaled = (rows @ self.inverses.flatten(0, 1).T).unflatten(1, self.places.shape)
        distances = (scaled - self.places).square().sum(2)  # B x K
        return torch.logsumexp(self.heights - distances / 2, dim=1) + log_det

    def losses(self, codes: Tensor) -> dict[str, Tensor]:
        """Return loss = - log p in nats per number of a code, the mean over B."""
        return {"loss": -self.log_prob(codes).mean() / len(self.mean)}

    @torch.inference_mode()
    def sample(self, num: int, rng: Generator) -> Tensor:
        """Return num codes, num x Cz x h x w; the mixture's are drawn on the CPU."""
        drawn = self.mixture.sample(num, rng).flatten(1)
        return self.from_base(drawn.to(self.mean.device))


def _square_factors(mixture: Mixture) -> Tensor:
    """Return the factors of a mixture as matrices, K x D x D float64."""
    factors = mixture.factors.double()
    return torch.diag_embed(factors) if factors.dim() == 2 else factors


def _describe(mixture: Mixture) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean (D), the axes (D x D, columns) and deviations (D) along them of a mixture."""
    weights, means = mixture.weights.double(), mixture.means.double()
    factors = _square_factors(mixture)
    mean = weights @ means
    offsets = means - mean
    covariance = torch.einsum("k,kij,klj->il", weights, factors, factors)
    covariance += torch.einsum("k,ki,kj->ij", weights, offsets, offsets)
    variances, axes = torch.linalg.eigh(covariance)
    return mean, axes, variances.sqrt()
