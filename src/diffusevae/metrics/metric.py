"""What each metric is called and means: of restored images (PAIRED), of sets (DISTRIBUTION)."""

from dataclasses import dataclass
from typing import Literal

SOBEL_GAIN = 64  # largest joint power gain of the two Sobel kernels, so EdgeSim <= 64 MSE


@dataclass(frozen=True)
class Metric:
    """What a reader needs to know of a metric; low and high bound its values (None: no bound)."""

    name: str
    better: Literal["higher", "lower"]
    low: float | None
    high: float | None
    formula: str


METRICS: dict[str, Metric] = {
    "mse": Metric("MSE", "lower", 0, 1, "mean of (x - y)^2"),
    "psnr": Metric("PSNR (dB)", "higher", 0, 100, "10 log10(1 / MSE), MSE at least 1e-10"),
    "ssim": Metric(
        "SSIM",
        "higher",
        -1,
        1,
        "structural similarity, Gaussian window 11 (inside the image), sigma 1.5, "
        "K1 0.01, K2 0.03, L 1",
    ),
    "lpips": Metric(
        "LPIPS",
        "lower",
        0,
        None,
        "distance of unit-normalised AlexNet features, weighted by the learned heads",
    ),
    "mae": Metric("MAE", "lower", 0, 1, "mean of |x - y|"),
    "edge_sim": Metric(
        "EdgeSim",
        "lower",
        0,
        SOBEL_GAIN,
        "mean of (|Sobel x| - |Sobel y|)^2, 3x3 kernels, not normalised",
    ),
    "hist_sim": Metric(
        "HistSim",
        "lower",
        0,
        2,
        "sum over the 256 grey values of (h_x - h_y)^2 / (h_x + h_y + 1e-10), pixels in 8 bits",
    ),
    "frechet": Metric(
        "Fréchet distance",
        "lower",
        0,
        None,
        "|m_r - m_g|^2 + tr(S_r + S_g - 2 (S_r S_g)^(1/2)) of classifier features",
    ),
    "frechet_inf": Metric(
        "Fréchet distance at infinity",
        "lower",
        None,
        None,
        "the same of infinitely many images: what it owes to their number (about 1 / N) taken off",
    ),
    "kid": Metric(
        "KID",
        "lower",
        None,
        None,
        "unbiased squared MMD of classifier features, kernel (a.b / D + 1)^3",
    ),
    "precision": Metric(
        "Precision",
        "higher",
        0,
        1,
        "share of generated images within k-nearest-neighbour reach of real ones",
    ),
    "recall": Metric(
        "Recall",
        "higher",
        0,
        1,
        "share of real images within k-nearest-neighbour reach of generated ones",
    ),
    "density": Metric(
        "Density",
        "higher",
        0,
        None,
        "k-nearest-neighbour balls of real images around a generated one, over k: 1 for equal sets",
    ),
    "coverage": Metric(
        "Coverage",
        "higher",
        0,
        1,
        "share of real images whose own such ball holds a generated one: 1 - 2^-k for equal sets",
    ),
}
PAIRED = ("mse", "psnr", "ssim", "lpips", "mae", "edge_sim", "hist_sim")
DISTRIBUTION = ("frechet", "frechet_inf", "kid", "precision", "recall", "density", "coverage")
