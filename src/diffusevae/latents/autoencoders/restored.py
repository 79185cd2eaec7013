"""Restored images measured: the autoencoder's against those of every other method."""

from collections.abc import Mapping

import pandas as pd
from torch import Tensor

from diffusevae.latents.autoencoders.part import AE
from diffusevae.latents.measures.evidence import spread
from diffusevae.metrics.classical import MEASURED
from diffusevae.metrics.metric import METRICS

Restored = Mapping[str, Mapping[str, tuple[float, Tensor]]]  # metric, method: setting, images


def compare_restored(
    real: Tensor, restored: Restored, seed: int, place: Mapping[str, float]
) -> list[dict[str, object]]:
    """Return a row for each metric and method: its value and the autoencoder's less its.

    Each row begins with `place`, e.g. {"noise": 0.2}.
    """
    rows = []
    for metric, methods in restored.items():
        values = {method: MEASURED[metric](real, images) for method, (_, images) in methods.items()}
        for method, (setting, _) in methods.items():
            row = {
                **place,
                "metric": metric,
                "method": method,
                "setting": setting,
                **spread(values[method], seed, "value"),
            }
            if method != AE:
                row |= spread(values[AE] - values[method], seed, "change")
            rows.append(row)
    return rows


def best_rival(table: pd.DataFrame, place: Mapping[str, float], metric: str) -> pd.Series:
    """Return the row of the best method beside the autoencoder, at one level and by one metric."""
    rows = table[(table["metric"] == metric) & (table["method"] != AE)]
    for column, value in place.items():
        rows = rows[rows[column] == value]
    lower = METRICS[metric].better == "lower"
    return rows.loc[rows["value"].idxmin() if lower else rows["value"].idxmax()]
