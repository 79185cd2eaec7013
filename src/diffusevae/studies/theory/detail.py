"""The detail that a VAE loses, and whether what refining puts there is the detail that was.

The main source shows it at a shirt's print (figure 7.6). Here the images are picked by a rule:
those that lose most energy of high frequency. Spectra are of the cosine transform, that of an image
mirrored at its edges, so an edge of the picture is no detail.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from scipy.fft import dctn, idctn
from torch import Tensor

from diffusevae.core.randomness import seed_of
from diffusevae.metrics.bootstrap import interval

SMALLEST = 1e-12  # energy below which an image has no detail


def detail_of(images: Tensor, frequency: float) -> Tensor:
    """Return the part of images (N x C x H x W) finer than a frequency in cycles per pixel.

    Its energy is what the spectrum has outside that radius: the transform is orthonormal.
    """
    axes = (-2, -1)
    spectrum = dctn(images.double().numpy(), axes=axes, norm="ortho")
    heights, widths = (np.arange(size) / (2 * size) for size in images.shape[2:])
    spectrum *= np.hypot(heights[:, None], widths) > frequency
    return torch.from_numpy(idctn(spectrum, axes=axes, norm="ortho"))


def energy(detail: Tensor) -> Tensor:
    """Return the energy of each of N details."""
    return detail.square().flatten(1).sum(1)


def correlate(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlation of N pairs of details, 0 where one of the two has none."""
    product = (a * b).flatten(1).sum(1)
    return product / (energy(a) * energy(b)).sqrt().clamp_min(SMALLEST)


def pick_losses(real: Tensor, x_hat: Tensor, frequency: float, count: int) -> Tensor:
    """Return the places of the images that lose most energy of detail, the greatest loss first.

    What DiffuseVAE made of them has no say.
    """
    lost = energy(detail_of(real, frequency)) - energy(detail_of(x_hat, frequency))
    return lost.sort(descending=True, stable=True).indices[:count]


def ratio_interval(
    above: np.ndarray, below: np.ndarray, seed: int, num_resamples: int
) -> dict[str, float]:
    """Return the ratio of two means over the same images with its 95 % interval.

    The interval is that of the mean of above - ratio below, over the mean of below (delta method).
    """
    ratio, scale = above.mean() / below.mean(), below.mean()
    left = interval(above - ratio * below, seed, num_resamples)
    ends = sorted(ratio + left[end] / scale for end in ("low", "high"))
    return {"value": float(ratio), "low": float(ends[0]), "high": float(ends[1])}


def measure_detail(
    real: Tensor,
    x_hat: Tensor,
    refined: Tensor,
    frequency: float,
    seed: int,
    num_resamples: int,
    say: Callable[[str], None],
) -> pd.DataFrame:
    """Return a row for each quantity, with its 95 % interval over images (all N x C x H x W).

    Of the energy of detail, in units of the real images': vae_energy, diffusevae_energy. Of what
    the VAE lost of it, brought_back is what refining returns, whatever it is: 1 is all. Whether it
    is the right detail say correlations with the real one: vae_right, diffusevae_right, their
    change, and added_right, the correlation of what refining added with what was missing.
    """
    was, left, made = (detail_of(each, frequency) for each in (real, x_hat, refined))
    energies = [energy(each).numpy() for each in (was, left, made)]
    key = seed_of(seed, "theory", "detail")

    def share(above: np.ndarray, below: np.ndarray) -> dict[str, float]:
        return ratio_interval(above, below, key, num_resamples)

    def mean(values: Tensor) -> dict[str, float]:
        return interval(values.numpy(), key, num_resamples)

    right = [correlate(was, each) for each in (left, made)]
    found = {
        "vae_energy": share(energies[1], energies[0]),
        "diffusevae_energy": share(energies[2], energies[0]),
        "brought_back": share(energies[2] - energies[1], energies[0] - energies[1]),
        "vae_right": mean(right[0]),
        "diffusevae_right": mean(right[1]),
        "right_change": mean(right[1] - right[0]),
        "added_right": mean(correlate(was - left, made - left)),
    }
    say("detail: " + "  ".join(f"{name} {entry['value']:.3f}" for name, entry in found.items()))
    rows = [{"quantity": name, "num_images": len(real)} | entry for name, entry in found.items()]
    return pd.DataFrame(rows)
