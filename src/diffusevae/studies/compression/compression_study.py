"""The VAE against PCA with as many numbers: is a learned code better than a linear one?

Both describe an image by k numbers and are judged by what they restore of test images. PCA is the
best linear code for the squared error (Eckart and Young, 1936), fitted to all training images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from torch import Tensor

from diffusevae.core.params import Count, PositiveCount, Range
from diffusevae.core.randomness import seed_of
from diffusevae.metrics.bootstrap import interval
from diffusevae.metrics.metric import METRICS
from diffusevae.metrics.paired import measure_pairs

MEASURED = ("mse", "ssim")
PCA, VAE = "PCA", "VAE"


@dataclass(frozen=True)
class CompressConfig:
    """The codes to compare (each Cz x h x w), and how the VAEs with such a code are trained.

    kl_weight takes the place of the experiment's own: PCA, too, pays nothing for its numbers.
    channel_multipliers do so for as many levels as it takes to come down to h x w. epochs has a
    number for each code.
    """

    codes: tuple[tuple[PositiveCount, ...], ...]
    seeds: tuple[Count, ...]
    channel_multipliers: tuple[Annotated[int, Range(1, 64)], ...]
    kl_weight: Annotated[float, Range(0, 1000)]
    epochs: tuple[PositiveCount, ...]
    num_train_images: PositiveCount
    num_test_images: PositiveCount

    def __post_init__(self) -> None:
        for name in ("codes", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name}: expected one or more, each once")
        if len(self.epochs) != len(self.codes):
            raise ValueError(
                f"epochs: {len(self.epochs)} numbers for {len(self.codes)} codes; give one for each"
            )
        for code in self.codes:
            if len(code) != 3 or code[1] != code[2]:
                raise ValueError(f"codes: {list(code)} is not [Cz, h, w] with h = w")


def name_code(code: tuple[int, ...]) -> str:
    """Return e.g. 4 x 4 x 4."""
    return " x ".join(map(str, code))


def measure_restored(real: Tensor, restored: Tensor) -> dict[str, np.ndarray]:
    """Return each metric of the table per image, for two sets in [0, 1]."""
    values = measure_pairs(real.cpu(), restored.cpu())
    return {name: values[name].double().numpy() for name in MEASURED}


def compare_codes(
    pca: Mapping[str, np.ndarray],
    vaes: Sequence[Mapping[str, np.ndarray]],
    seed: int,
    num_resamples: int = 2000,
) -> dict[str, float | bool]:
    """Return a row of the table: each metric of both, and of VAE minus PCA with its 95 % interval.

    The difference of an image is averaged over the VAEs (one for each seed of the training), and
    the images resampled. `_worst` is the difference of the VAE that comes off worst.
    """
    row: dict[str, float | bool] = {"num_seeds": len(vaes)}
    for name in MEASURED:
        differences = np.stack([vae[name] - pca[name] for vae in vaes])
        found = interval(differences.mean(0), seed_of(seed, "compress", name), num_resamples)
        lower = METRICS[name].better == "lower"
        means = differences.mean(1)
        row |= {
            f"{name}_pca": float(pca[name].mean()),
            f"{name}_vae": float(np.mean([vae[name].mean() for vae in vaes])),
            f"{name}_change": found["value"],
            f"{name}_low": found["low"],
            f"{name}_high": found["high"],
            f"{name}_worst": float(means.max() if lower else means.min()),
            f"{name}_vae_better": bool(found["high"] < 0 if lower else found["low"] > 0),
        }
    return row
