"""Damage to images, and the classical methods that undo some of it: filters and interpolation."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, median_filter
from scipy.signal import wiener
from torch import Tensor

from diffusevae.metrics.metric import METRICS
from diffusevae.metrics.paired import mse, ssim

MEASURED = {"mse": mse, "ssim": ssim}
FILTERS: dict[str, tuple[float, ...]] = {  # settings to choose from: sigma, or side of the window
    "Gaussian filter": (0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0),
    "median filter": (3, 5, 7),
    "Wiener filter": (3, 5, 7),
    "nothing": (0,),
}


def add_noise(x: Tensor, levels: float | Tensor, rng: torch.Generator) -> Tensor:
    """Return x + levels * N(0, I), not clipped; levels is a number or B x 1 x 1 x 1."""
    return x + levels * torch.randn(x.shape, generator=rng, device=x.device)


def shrink(x: Tensor, factor: int) -> Tensor:
    """Return images of a factor-th of the height and width: means of factor x factor pixels."""
    return F.avg_pool2d(x, factor)


def enlarge(x: Tensor, factor: int, mode: str) -> Tensor:
    """Return images `factor` times as high and wide, in [0, 1]; mode: bilinear or bicubic."""
    return F.interpolate(x, scale_factor=factor, mode=mode, align_corners=False).clamp(0, 1)


def filter_images(x: Tensor, method: str, setting: float, noise: float) -> Tensor:
    """Return noisy images (N x C x H x W, CPU) filtered and clipped to [0, 1].

    The Wiener filter is told the noise's standard deviation.
    """
    images = x.double().numpy()
    if method == "Gaussian filter":
        images = gaussian_filter(images, (0, 0, setting, setting))
    elif method == "median filter":
        images = median_filter(images, (1, 1, int(setting), int(setting)))
    elif method == "Wiener filter":
        with np.errstate(divide="ignore", invalid="ignore"):  # even spots: scipy takes their mean
            images = wiener(images, (1, 1, int(setting), int(setting)), noise**2)
    return torch.from_numpy(np.clip(images, 0, 1)).float()


def choose_setting(real: Tensor, noisy: Tensor, method: str, noise: float, metric: str) -> float:
    """Return the setting of a classical filter that is best for these images by that metric."""
    sign = 1 if METRICS[metric].better == "lower" else -1
    return min(
        FILTERS[method],
        key=lambda setting: (
            sign
            * float(MEASURED[metric](real, filter_images(noisy, method, setting, noise)).mean())
        ),
    )
