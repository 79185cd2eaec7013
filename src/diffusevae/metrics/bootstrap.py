"""Percentile bootstrap intervals of means (Efron and Tibshirani, 1993)."""

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95
MAX_DRAWS = 2_000_000  # random indices held in memory at a time


def interval(
    values: Sequence[float] | np.ndarray, seed: int, num_resamples: int = 2000
) -> dict[str, float]:
    """Return the mean of N per-image values with its 95 % interval: value, low, high.

    For a paired difference pass the differences: the same images are then resampled for both
    sides. The same seed and N resample the same images. Raises ValueError for values that are
    empty or not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"a bootstrap needs one or more finite values in one row, got shape {values.shape}"
        )
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be positive, got {num_resamples}")
    generator = np.random.default_rng(seed)
    rows = max(1, MAX_DRAWS // len(values))
    means = np.concatenate(
        [
            values[
                generator.integers(0, len(values), (min(rows, num_resamples - i), len(values)))
            ].mean(axis=1)
            for i in range(0, num_resamples, rows)
        ]
    )
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    value = values.mean()
    # Where all values are equal, rounding alone must not put the mean outside its interval.
    return {"value": float(value), "low": float(min(low, value)), "high": float(max(high, value))}
