"""Sampling under an outer field r(x_0): images that the model finds likely and r wants.

If images have the density p(x_0) r(x_0), the best prediction of x_0 is moved by the gradient of
log r as seen from x_t (Tweedie's formula). That r is not known; in its place stands r at the
predicted x_0 (Chung et al. 2023, "Diffusion posterior sampling for general noisy inverse
problems"; for classes Dhariwal and Nichol 2021, "Diffusion models beat GANs on image synthesis").
"""

import dataclasses
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from diffusevae.models.classifier import Classifier
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.denoising import Denoise, Way, predict_x_0

# From the predicted x_0 of some images, in the range of diffusion and with gradient, which of all
# images these are, and bar_alpha, to log r of each: B.
Field = Callable[[Tensor, slice, float], Tensor]


def make_field_denoiser(
    model: DiffusionModel, conditions: Sequence[Tensor], way: Way, field: Field, images: slice
) -> Denoise:
    """Return what predicts x_0 under a field: x_0 + (1 - bar_alpha) / sqrt(bar_alpha) grad log r.

    The gradient is that along x_t, through the network, which takes three times as long as a
    prediction. images: which of all images the batch holds.
    """
    alpha_bars = model.schedule.alpha_bars.tolist()
    unclipped = dataclasses.replace(way, clip=False)

    def denoise(x_t: Tensor, t: int) -> Tensor:
        alpha_bar = alpha_bars[t]
        with torch.inference_mode(False), torch.enable_grad():
            x = x_t.clone().requires_grad_()
            times = torch.full((1,), t, device=x.device)
            known = [condition.clone() for condition in conditions]  # such as autograd may keep
            x_0 = predict_x_0(model, x, times, known, unclipped)
            (pull,) = torch.autograd.grad(field(x_0, images, alpha_bar).sum(), x)
        moved = x_0.detach() + (1 - alpha_bar) / alpha_bar**0.5 * pull
        return moved.clamp(*model.x_0_bounds) if way.clip else moved

    return denoise


def want_labels(
    model: DiffusionModel, classifier: Classifier, labels: Tensor, weight: float
) -> Field:
    """Return weight * log p(label | x_0) by a classifier of images in [0, 1]; labels: N."""
    low, high = model.x_0_bounds

    def field(x_0: Tensor, images: slice, alpha_bar: float) -> Tensor:
        wanted = labels[images].to(x_0.device)
        logits = classifier(((x_0 - low) / (high - low)).clamp(0, 1))
        return -weight * F.cross_entropy(logits, wanted, reduction="none")

    return field


def want_pixels(
    model: DiffusionModel, observed: Tensor, known: Tensor, variance: float, noise: float
) -> Field:
    """Return log p(observed | x_t), as if the pixels of x_0 were independent Gaussians.

    Pseudo-inverse guidance (Song et al. 2023, "Pseudoinverse-guided diffusion models", eq. 7): what
    x_t leaves open about x_0 has the variance r^2 = (1 - bar_alpha) v / (1 - bar_alpha + bar_alpha
    v), v being that of clean pixels. observed: N x C x H x W in [0, 1]; known: of the same shape,
    1 where a pixel was observed, else 0; noise: standard deviation of the observation. Variance and
    noise are in the range of diffusion.
    """

    def field(x_0: Tensor, images: slice, alpha_bar: float) -> Tensor:
        spread = (1 - alpha_bar) * variance / (1 - alpha_bar + alpha_bar * variance)
        wanted = model.to_diffusion_range(observed[images].to(x_0.device))
        mask = known[images].to(x_0.device)
        error = (mask * (wanted - x_0)).square().flatten(1).sum(1)
        return -0.5 * error / (spread + noise**2)

    return field
