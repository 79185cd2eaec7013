"""Metrics of an image against its reconstruction, one value per image.

Every function takes x and y, B x C x H x W in [0, 1], and returns B values in x's dtype. They are
symmetric in x and y. Source: docs/study.md, 7. Channels are averaged (HistSim pools them).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from diffusevae.data.dataset import count_at_once

SMALLEST_MSE = 1e-10  # keeps the PSNR of identical images finite: 100 dB
WINDOW = 11
WINDOW_SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2  # (K1 L)^2, (K2 L)^2 with L = 1
NUM_BINS = 256


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared error of each image."""
    _require_pair(x, y)
    return (x - y).square().mean(dim=(1, 2, 3))


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB; identical images have 100 dB."""
    return psnr_of_mse(mse(x, y))


def psnr_of_mse(error: Tensor) -> Tensor:
    """Return 10 log10(1 / MSE) in dB, with MSE held at 1e-10 or more (100 dB)."""
    return -10 * torch.log10(error.clamp_min(SMALLEST_MSE))


def mae(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean absolute error of each image."""
    _require_pair(x, y)
    return (x - y).abs().mean(dim=(1, 2, 3))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return the structural similarity of each image, in [-1, 1] (Wang et al., 2004).

    The mean runs over the windows that lie wholly inside the image, as in the authors' code;
    torchmetrics adds windows over a mirrored border, which black borders make larger. Needs
    H, W >= 11; raises ValueError below. Variances are differences of large numbers, so they are
    computed in float64.
    """
    _require_pair(x, y)
    if min(x.shape[2:]) < WINDOW:
        raise ValueError(f"SSIM needs images of {WINDOW} x {WINDOW} or more, got {x.shape[2:]}")
    rows = _window_matrix(x.shape[2], x.device)
    columns = _window_matrix(x.shape[3], x.device).T
    a, b = x.double(), y.double()
    mean_a, mean_b, aa, bb, ab = (rows @ m @ columns for m in (a, b, a * a, b * b, a * b))
    variance = (aa - mean_a**2).clamp_min(0) + (bb - mean_b**2).clamp_min(0)
    covariance = ab - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    similarity /= (mean_a**2 + mean_b**2 + C1) * (variance + C2)
    return similarity.mean(dim=(1, 2, 3)).to(x.dtype)


def edge_sim(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared difference of the Sobel gradient magnitudes of each image.

    Images are continued by zeros. So the bound EdgeSim <= 64 MSE holds for every image, and an
    object cut by the border has an edge there.
    """
    _require_pair(x, y)
    return (_sobel_magnitude(x) - _sobel_magnitude(y)).square().mean(dim=(1, 2, 3))


def hist_sim(x: Tensor, y: Tensor, rounded: bool = True) -> Tensor:
    """Return the chi-square distance of the grey value histograms of each image, in [0, 2].

    Values are rounded to 8 bits: so a viewer gets them. Not rounded they fall into 256 bins of
    equal width, as in the study, where a grey that is nearly black counts as black.
    """
    _require_pair(x, y)
    return _chi_square(_histograms(x, rounded), _histograms(y, rounded)).to(x.dtype)


def hist_sim_of_set(x: Tensor, y: Tensor) -> float:
    """Return the HistSim of two whole sets: one histogram over all values of each set."""
    _require_images(x)
    _require_images(y)
    # Counts of a set are sums of the images' counts; images of equal size weigh the same.
    return float(_chi_square(_histograms(x).mean(0), _histograms(y).mean(0)))


def measure_pairs(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return every paired metric but LPIPS, each with B values; memory is that of some images."""
    functions = {
        "mse": mse,
        "psnr": psnr,
        "ssim": ssim,
        "mae": mae,
        "edge_sim": edge_sim,
        "hist_sim": hist_sim,
    }
    assert len(x) == len(y), f"{len(x)} images against {len(y)}"
    batch_size = 2 * count_at_once(x.shape[1:])
    parts = list(zip(x.split(batch_size), y.split(batch_size), strict=True))
    return {
        name: torch.cat([function(*part) for part in parts]) for name, function in functions.items()
    }


def _require_images(x: Tensor) -> None:
    if x.ndim != 4 or x.numel() == 0:
        raise ValueError(f"expected images B x C x H x W, got shape {tuple(x.shape)}")
    low, high = x.aminmax()
    if not (low >= 0 and high <= 1):  # so written that NaN fails too
        raise ValueError(f"image values must lie in [0, 1], got {float(low)} to {float(high)}")


def _require_pair(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape:
        raise ValueError(f"images to compare differ in shape: {tuple(x.shape)}, {tuple(y.shape)}")
    _require_images(x)
    _require_images(y)


def _window_matrix(size: int, device: torch.device) -> Tensor:
    """Return the Gaussian filter along one axis as a band matrix, (size - 10) x size.

    On images of this size a matrix product is about ten times as fast as a convolution.
    """
    offset = torch.arange(WINDOW, dtype=torch.float64, device=device) - WINDOW // 2
    window = torch.exp(-(offset**2) / (2 * WINDOW_SIGMA**2))
    matrix = torch.zeros(size - WINDOW + 1, size, dtype=torch.float64, device=device)
    for i in range(len(matrix)):
        matrix[i, i : i + WINDOW] = window / window.sum()
    return matrix


def _sobel_magnitude(x: Tensor) -> Tensor:
    """Return sqrt(g_h^2 + g_v^2), same shape; the kernels are (1 2 1) across (1 0 -1)."""
    x = F.pad(x, (1, 1, 1, 1))
    down = x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]
    right = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    return torch.hypot(down[..., 2:] - down[..., :-2], right[..., 2:, :] - right[..., :-2, :])


def _histograms(x: Tensor, rounded: bool = True) -> Tensor:
    """Return the normalised histogram of each image, B x 256 (float64)."""
    values = x.flatten(1)
    if rounded:
        bins = (values * (NUM_BINS - 1)).round().long()
    else:
        bins = (values * NUM_BINS).long().clamp_max(NUM_BINS - 1)  # the last bin includes 1
    bins += NUM_BINS * torch.arange(len(x), device=x.device)[:, None]  # images side by side
    counts = torch.bincount(bins.flatten(), minlength=NUM_BINS * len(x))
    return counts.reshape(len(x), NUM_BINS).double() / x[0].numel()


def _chi_square(h_x: Tensor, h_y: Tensor) -> Tensor:
    return ((h_x - h_y).square() / (h_x + h_y + 1e-10)).sum(-1)
