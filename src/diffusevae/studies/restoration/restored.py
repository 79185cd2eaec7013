"""Restored images held against the real ones, each method against the best classical one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import Tensor

from diffusevae.core.randomness import seed_of
from diffusevae.metrics.bootstrap import interval

VAE_CODES = "VAE: probable codes"
DDPM_REPAINT, DIFFUSEVAE_REPAINT = "DDPM: RePaint", "DiffuseVAE: RePaint"
DDPM_ESTIMATE, DIFFUSEVAE_ESTIMATE = "DDPM: from an estimate", "DiffuseVAE: from an estimate"
DDPM_POSTERIOR = "DDPM: posterior sampling"
DDPM_ONE_STEP, DIFFUSEVAE_ONE_STEP = "DDPM: one step", "DiffuseVAE: one step"


@dataclass(frozen=True, eq=False)
class Restored:
    """What a method makes of damaged test images: N x C x H x W in [0, 1].

    setting: in words; validation_mse: the error on validation images where it was measured.
    """

    images: Tensor
    classical: bool
    setting: str = ""
    validation_mse: float = math.inf


def error_of(images: Tensor, real: Tensor, wanted: Tensor) -> Tensor:
    """Return each image's mean squared error over the wanted pixels (C x H x W of 0 and 1): N."""
    return ((images - real).square() * wanted).flatten(1).sum(1) / wanted.sum()


def compare_restored(
    restored: Mapping[str, Restored],
    real: Tensor,
    wanted: Tensor,
    facts: Mapping[str, object],
    seed: int,
    num_resamples: int,
) -> list[dict[str, Any]]:
    """Return a row for each method: its mean error, and that less the best classical method's.

    Both with 95 % intervals over images (_low, _high), resampled alike for all; facts begin a row.
    """
    errors = {
        name: error_of(each.images, real, wanted).double().numpy()
        for name, each in restored.items()
    }
    classical = [name for name, each in restored.items() if each.classical]
    best = min(classical, key=lambda name: errors[name].mean())
    rows = []
    for name, each in restored.items():
        row: dict[str, Any] = {
            **facts,
            "method": name,
            "classical": each.classical,
            "setting": each.setting,
            "num_images": len(real),
            "rival": best,
        }
        for column, values in (("mse", errors[name]), ("less_rival", errors[name] - errors[best])):
            found = interval(values, seed_of(seed, "restoration"), num_resamples)
            row |= {column: found["value"]}
            row |= {f"{column}_low": found["low"], f"{column}_high": found["high"]}
        rows.append(row)
    return rows


def count_won(table: pd.DataFrame, method: str) -> tuple[int, int]:
    """Return in how many cases a method is surely below the best classical one, and of how many."""
    mine = table[table["method"] == method]
    return int((mine["less_rival_high"] < 0).sum()), len(mine)
