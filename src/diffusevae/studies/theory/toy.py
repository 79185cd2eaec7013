"""The diffusion process in the plane, where the best network is known: points go, and come back.

x_0 is a mixture of Gaussians, an "image" of two pixels. What a trained network would come to,
E[x_0 | x_t], is a formula then, so the way back is that of the samplers alone.
"""

import dataclasses
import math
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from diffusevae.core.randomness import generator
from diffusevae.metrics.frechet_intervals import frechet_interval
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.latent_mixture import Mixture
from diffusevae.models.schedule import NoiseSchedule
from diffusevae.models.unet import UNetConfig
from diffusevae.sampling.sampler_config import SamplerConfig, SamplerName
from diffusevae.sampling.samplers import sample
from diffusevae.studies.theory.theory_config import TheoryConfig

SHAPE = (1, 1, 2)  # of a point as an image
NO_UNET = UNetConfig(1, (1,), 1, (), 1, 2, 0.0, ("concat",))
SAMPLERS: tuple[SamplerName, ...] = ("ddpm", "ddim")  # with noise on the way back, and without
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way at which points are compared, from x_0 to x_T


def make_mixture() -> Mixture:
    """Return three Gaussians in [-1, 1]^2, of other sizes, directions and weights."""
    angles = torch.tensor([0.9, -0.6, 0.0])
    spreads = torch.tensor([[0.24, 0.06], [0.18, 0.05], [0.09, 0.09]])
    turns = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], 1)
    return Mixture(
        torch.tensor([0.45, 0.35, 0.2]),
        torch.tensor([[-0.5, 0.1], [0.55, 0.45], [0.25, -0.65]]),
        torch.linalg.cholesky(covariances_of(turns.reshape(3, 2, 2) * spreads[:, None])),
        SHAPE,
    )


def covariances_of(factors: Tensor) -> Tensor:
    """Return F F^T of each of K factors (K x D x D)."""
    return factors @ factors.mT


class ExactMixture(nn.Module):
    """The best network of a mixture (K Gaussians in D dimensions): predicts E[x_0 | x_t]."""

    image_shape, conditional, num_classes = SHAPE, False, 0

    def __init__(self, mixture: Mixture, alpha_bars: Tensor) -> None:
        super().__init__()
        self.mixture, self.alpha_bars = mixture, alpha_bars

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return B x C x H x W for x_t of that shape and the one time (1) of all."""
        alpha_bar = float(self.alpha_bars[t[0]])
        means, covariances = self.mixture.means.double(), covariances_of(self.mixture.factors)
        covariances = covariances.double()
        noisy = alpha_bar * covariances + (1 - alpha_bar) * torch.eye(means.shape[1])
        offsets = x_t.flatten(1).double()[:, None] - math.sqrt(alpha_bar) * means  # B x K x D
        density = torch.distributions.MultivariateNormal(torch.zeros_like(means), noisy)
        weights = self.mixture.weights.double().log() + density.log_prob(offsets)
        gains = math.sqrt(alpha_bar) * covariances @ torch.linalg.inv(noisy)  # K x D x D
        expected = means + (gains @ offsets[..., None])[..., 0]
        return (weights.softmax(1)[..., None] * expected).sum(1).reshape(x_t.shape).to(x_t)


def make_toy(config: DiffusionConfig, mixture: Mixture) -> DiffusionModel:
    """Return a diffusion model with this process, whose network is the best for the mixture."""
    process = dataclasses.replace(
        config, prediction="x0", image_range="centred", open_ends=False, min_snr_gamma=None
    )
    model = DiffusionModel(process, NO_UNET, SHAPE, conditional=False)
    model.unet = ExactMixture(mixture, model.schedule.alpha_bars)  # type: ignore[assignment]
    return model.eval()


def moments_at(mixture: Mixture, alpha_bar: float) -> tuple[Tensor, Tensor]:
    """Return mean (D) and covariance (D x D) of x_t, all Gaussians together."""
    means, weights = mixture.means, mixture.weights
    mean = weights @ means
    offsets = means - mean
    within = (weights[:, None, None] * covariances_of(mixture.factors)).sum(0)
    covariance = within + offsets.T @ (weights[:, None] * offsets)
    return alpha_bar**0.5 * mean, alpha_bar * covariance + (1 - alpha_bar) * torch.eye(len(mean))


@dataclass(frozen=True, eq=False)
class Paths:
    """How points move: alpha_bars (k) in the order of time, from x_0's 1 on; points k x N x 2."""

    alpha_bars: Tensor
    points: Tensor

    def at(self, share: float) -> tuple[float, Tensor]:
        """Return (bar_alpha, points N x 2) at that share of the way from x_0 to x_T."""
        moment = round(share * (len(self.points) - 1))
        return float(self.alpha_bars[moment]), self.points[moment]


def go(schedule: NoiseSchedule, x_0: Tensor, seed: int) -> Paths:
    """Return the paths of points (N x 2) forward, a link of the Markov chain q after the other."""
    rng, points = generator(seed, "theory", "forward"), [x_0]
    for beta in schedule.betas.tolist():
        eps = torch.randn(x_0.shape, generator=rng)
        points.append(math.sqrt(1 - beta) * points[-1] + math.sqrt(beta) * eps)
    alpha_bars = torch.cat([torch.ones(1), schedule.alpha_bars])
    return Paths(alpha_bars.float(), torch.stack(points))


def come_back(model: DiffusionModel, config: SamplerConfig, num_points: int, seed: int) -> Paths:
    """Return the paths of new points from x_T to x_0, as the sampler moves them."""
    moments: list[tuple[float, Tensor]] = []

    def keep(t: int, x_t: Tensor, _: Tensor) -> None:
        alpha_bar = 1.0 if t < 0 else float(model.schedule.alpha_bars[t])
        moments.append((alpha_bar, x_t.flatten(1).clone()))

    sample(model, config, num_points, seed, callback=keep)
    alpha_bars, points = zip(*reversed(moments), strict=True)
    return Paths(torch.tensor(alpha_bars), torch.stack(points))


def way_back(sampler: SamplerName, num_steps: int, num_points: int) -> SamplerConfig:
    """Return a sampler in so many steps, without noise where that is up to it, nothing clipped."""
    return SamplerConfig(
        sampler,
        num_steps,
        spacing="trailing",
        eta=0.0,
        variance="posterior",
        clip=False,
        guidance=0.0,
        temperature=1.0,
        shared_noise=False,
        batch_size=num_points,
    )


def compare_paths(
    mixture: Mixture, forward: Paths, backward: dict[str, Paths], config: TheoryConfig
) -> pd.DataFrame:
    """Return a row for each sampler and moment: how far its points are from those that went.

    frechet is the squared Fréchet distance of the two sets, by mean and covariance, with its 95 %
    interval; mean_error and covariance_error (largest entry) are those from the closed form.
    """
    rows = []
    for sampler, paths in backward.items():
        for share in SHARES:
            alpha_bar, points = paths.at(share)
            nearest = int((forward.alpha_bars - alpha_bar).abs().argmin())
            went, came = forward.points[nearest].double(), points.double()
            mean, covariance = moments_at(mixture, alpha_bar)
            found = frechet_interval(went.numpy(), came.numpy())
            rows.append(
                {
                    "sampler": sampler,
                    "num_steps": config.num_steps,
                    "alpha_bar": alpha_bar,
                    "num_points": len(came),
                    "frechet": found["value"],
                    "frechet_low": found["low"],
                    "frechet_high": found["high"],
                    "mean_error": float((came.mean(0) - mean).abs().max()),
                    "covariance_error": float((came.T.cov() - covariance).abs().max()),
                }
            )
    return pd.DataFrame(rows)


def run_toy(
    config: DiffusionConfig, theory: TheoryConfig, seed: int
) -> tuple[Mixture, Paths, dict[str, Paths], pd.DataFrame]:
    """Return the mixture, the paths of its points forward and those back, and their table."""
    mixture = make_mixture()
    model = make_toy(config, mixture)
    start = mixture.sample(theory.num_points, generator(seed, "theory", "toy")).flatten(1)
    forward = go(model.schedule, start, seed)
    count = theory.num_points
    ways = {name: way_back(name, theory.num_steps, count) for name in SAMPLERS}
    back = {str(name): come_back(model, way, count, seed) for name, way in ways.items()}
    return mixture, forward, back, compare_paths(mixture, forward, back, theory)
