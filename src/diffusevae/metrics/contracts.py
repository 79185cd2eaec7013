"""What must hold of every metric before a table with it is written (docs/study.md, section 7).

Ranges and inequalities follow from the definitions. Directions are tried out: real test images are
damaged in known ways, ever more, and every metric must say so. Functions return breaches, one line
each, that begin with the metric's key.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.metrics.metric import METRICS, PAIRED, SOBEL_GAIN
from diffusevae.metrics.paired import SMALLEST_MSE, measure_pairs
from diffusevae.metrics.perceptual import lpips

ROUNDING = 1e-5  # room for float32
NUM_IMAGES = 200  # of which each corruption is measured
# Strengths, ever more damage. Noise is none of them: on a black ground it shifts all grey values at
# once, and more of it no further, so that HistSim would fall again.
CORRUPTIONS = {
    "shift": (1 / 255, 0.02, 0.05, 0.1),  # added brightness; the first is one grey level
    "blur": (0.6, 1.0, 2.0),  # sigma in pixels
    "mix": (0.05, 0.1, 0.3),  # share of the next image
}
NOISE = (0.05, 0.1, 0.2)  # standard deviations, for the distances between sets
WHOLE_SETS = ("frechet", "kid")


def require(breaches: Sequence[str]) -> None:
    """Raise InputError with the first breaches, so that no table of such numbers is written."""
    if breaches:
        more = f" (and {len(breaches) - 3} more)" if len(breaches) > 3 else ""
        raise InputError(
            f"evaluate: {'; '.join(breaches[:3])}{more}; no table is written of "
            "numbers that cannot be"
        )


def find_breaches(columns: Mapping[str, object]) -> list[str]:
    """Return what columns of values, array-likes by metric, show to be impossible.

    Checked: a known name, finite values in the metric's range, MAE <= sqrt(MSE), EdgeSim <= 64 MSE,
    for every row. HistSim's bound of 2 is its range. All three hold of means too.
    """
    values = {
        name: np.atleast_1d(np.asarray(column, dtype=np.float64))
        for name, column in columns.items()
    }
    unknown = [
        f"{name}: no such metric; known: {', '.join(METRICS)}"
        for name in values
        if name not in METRICS
    ]
    if unknown:
        return unknown
    breaches = [breach for name, column in values.items() for breach in _out_of_range(name, column)]
    for name, bound in _bounds(values):
        excess = values[name] - bound * (1 + ROUNDING) - ROUNDING**2
        if (excess > 0).any():
            i = int(excess.argmax())
            breaches.append(
                f"{name}: value {values[name].flat[i]:.6g} at row {i} exceeds its "
                f"bound {bound.flat[i]:.6g} given by mse"
            )
    return breaches


def find_breaches_of_means(means: Mapping[str, float], corruptions: pd.DataFrame) -> list[str]:
    """Return what a row of means shows to be impossible, such as one of the study's tables.

    Beyond `find_breaches`: the mean PSNR is at least the PSNR of the mean MSE (Jensen), and LPIPS
    is at least that of a uniform change of brightness with a smaller MSE, the damage that LPIPS
    sees least (`measure_corruptions` on the same data).
    """
    breaches = find_breaches({name: [value] for name, value in means.items()})
    least = -10 * np.log10(max(means["mse"], SMALLEST_MSE))
    if means["psnr"] < least - 0.05:  # printed numbers are rounded
        breaches.append(f"psnr: {means['psnr']:.4g} is below {least:.4g}, the PSNR of the mean MSE")
    shifts = corruptions[(corruptions["corruption"] == "shift") & corruptions["lpips"].notna()]
    smaller = shifts[shifts["mse"] < means["mse"]]
    if len(smaller) and means.get("lpips") is not None:
        rung = smaller.iloc[-1]
        if means["lpips"] < rung["lpips"]:
            breaches.append(
                f"lpips: {means['lpips']:.3g} is below {rung['lpips']:.3g}, that of brightness "
                f"raised by {rung['strength']:.3g}, although the MSE is {means['mse']:.3g} and not "
                f"{rung['mse']:.3g}"
            )
    return breaches


def measure_corruptions(
    real: Tensor, lpips_model: nn.Module | None, device: torch.device
) -> pd.DataFrame:
    """Return the mean of each paired metric for each corruption of real (N x C x H x W in [0, 1]).

    Columns: corruption, strength, the metrics; lpips is NaN without its network. What changes no
    pixel, such as more brightness where all is white, is no damage and left out.
    """
    real = real[:NUM_IMAGES]
    rungs = [
        ("none", 0.0),
        *((kind, strength) for kind, strengths in CORRUPTIONS.items() for strength in strengths),
    ]
    rows = []
    for kind, strength in rungs:
        damaged = corrupt(real, kind, strength)
        if kind != "none" and float((damaged - real).abs().max()) < ROUNDING:
            continue
        values = measure_pairs(real, damaged)
        if lpips_model is not None:
            values["lpips"] = lpips(real.to(device), damaged.to(device), lpips_model)
        rows.append(
            {
                "corruption": kind,
                "strength": strength,
                **{
                    name: float(values[name].mean()) if name in values else np.nan
                    for name in PAIRED
                },
            }
        )
    return pd.DataFrame(rows)


def find_blind_metrics(corruptions: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """Return which metrics do not get worse with every step of a corruption that starts at none.

    HistSim must tell every step from none, no more: where there are few grey values, as in black
    and white images, any damage moves all of a value at once, and more of it no further.
    """
    breaches = []
    undamaged = corruptions[corruptions["corruption"] == "none"]
    for kind, rungs in corruptions[corruptions["corruption"] != "none"].groupby("corruption"):
        ladder = pd.concat([undamaged, rungs])
        for name in metrics:
            if ladder[name].isna().any():
                continue
            before = ladder[name].iloc[0] if name == "hist_sim" else ladder[name].shift()
            worse = (ladder[name] - before)[1:] * (1 if METRICS[name].better == "lower" else -1)
            if not (worse > 0).all():
                shown = ", ".join(f"{value:.4g}" for value in ladder[name])
                breaches.append(f"{name}: does not get worse with every step of {kind}: {shown}")
    return breaches


def corrupt(images: Tensor, kind: str, strength: float) -> Tensor:
    """Return images (N x C x H x W in [0, 1]) damaged by one of CORRUPTIONS, "noise" or "none"."""
    if kind == "none":
        return images
    if kind == "shift":
        return (images + strength).clamp(0, 1)
    if kind == "mix":
        return (1 - strength) * images + strength * images.roll(1, dims=0)
    if kind == "noise":
        drawn = torch.randn(images.shape, generator=generator(0, "corruption"))
        return (images + strength * drawn.to(images)).clamp(0, 1)
    assert kind == "blur", kind
    reach = round(4 * strength)
    weights = torch.exp(-(torch.arange(-reach, reach + 1).to(images) ** 2) / (2 * strength**2))
    weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, -1)
    groups = images.shape[1]
    along = F.conv2d(images, weights, padding=(0, reach), groups=groups)
    return F.conv2d(along, weights.transpose(2, 3), padding=(reach, 0), groups=groups).clamp(0, 1)


def _bounds(columns: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the metrics that the MSE bounds, each with its bound."""
    if "mse" in columns and "mae" in columns:
        yield "mae", np.sqrt(columns["mse"])
    if "mse" in columns and "edge_sim" in columns:
        yield "edge_sim", SOBEL_GAIN * columns["mse"]


def _out_of_range(name: str, values: np.ndarray) -> list[str]:
    low, high = METRICS[name].low, METRICS[name].high
    low, high = -np.inf if low is None else low, np.inf if high is None else high
    wrong = ~np.isfinite(values) | (values < low - ROUNDING) | (values > high + ROUNDING)
    if not wrong.any():
        return []
    i = int(wrong.argmax())
    return [f"{name}: value {values.flat[i]:.6g} at row {i} is not a number from {low} to {high}"]
