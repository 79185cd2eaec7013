"""95 % intervals over trainings: what another seed and other test images would change together.

A training's own intervals say nothing of the next training, and seeds differ by more than images.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # scipy.stats has it, and takes a second to import

from diffusevae.metrics.labels import RESTORERS
from diffusevae.metrics.metric import DISTRIBUTION, PAIRED
from diffusevae.metrics.verdicts import DIFFERENCES

TAIL = 0.975


def interval_over_trainings(values: np.ndarray) -> dict[str, float]:
    """Return the mean of S x N values with its interval: value, low, high.

    A row per training, of the same N images; both are drawn. The squared reach is that of Student's
    interval over images, whose variance holds all that an image's value owes to chance, and that
    over trainings, less what the two have in common (a crossed design; Cochran, 1964, adds them
    so). It holds the truth in 95 to 97 % of draws (docs/intervals.md). Raises ValueError for one
    training.
    """
    rows, columns = values.mean(1), values.mean(0)
    rest = values - rows[:, None] - columns + values.mean()
    _require_two(values)
    trainings, images = values.shape
    common = float((rest**2).sum()) / ((trainings - 1) * (images - 1)) / (trainings * images)
    between = max(0.0, float(rows.var(ddof=1)) / trainings - common)
    within = float(columns.var(ddof=1)) / images
    square = _quantile(trainings) ** 2 * between + _quantile(images) ** 2 * within
    return _reach(values, np.sqrt(square))


def interval_of_trainings(values: Sequence[float]) -> dict[str, float]:
    """Return the mean of S numbers, one per training and other images each: value, low, high.

    The interval is Student's. Raises ValueError for one training.
    """
    found = np.asarray(values, dtype=np.float64)
    _require_two(found)
    return _reach(found, _quantile(len(found)) * found.std(ddof=1) / np.sqrt(len(found)))


def _require_two(values: np.ndarray) -> None:
    if len(values) < 2:
        raise ValueError("one training says nothing of another; give two or more")


def _quantile(count: int) -> float:
    return float(stdtrit(count - 1, TAIL))


def _reach(values: np.ndarray, reach: float) -> dict[str, float]:
    value, reach = float(values.mean()), float(reach)
    return {"value": value, "low": value - reach, "high": value + reach}


def compare_trainings(frames: Sequence[pd.DataFrame], metrics: Sequence[Mapping]) -> pd.DataFrame:
    """Return a row per model and metric: kind, model, metric, value, low, high, num_trainings.

    frames: per_image.csv of each training, of the same images; metrics: its metrics.json. Of
    generated images each training's reference was drawn anew, so its number counts as one draw. A
    metric that one of them lacks is left out. Raises ValueError where the images differ.
    """
    rows: list[tuple[str, str, str, dict[str, float]]] = []
    by_model = {name: [_take(frame, name) for frame in frames] for name in RESTORERS}
    if len({tuple(table.index) for tables in by_model.values() for table in tables}) > 1:
        raise ValueError("the trainings were not measured on the same images")
    for rival, name in DIFFERENCES.items():
        pairs = zip(by_model["diffusevae"], by_model[rival], strict=True)
        by_model[name] = [refined - other for refined, other in pairs]
    for model, tables in by_model.items():
        for name in PAIRED:
            values = np.stack([table[name].to_numpy() for table in tables])
            if np.isfinite(values).all():
                rows.append(("paired", model, name, interval_over_trainings(values)))
    sets = [each["generated"] | {"floor": each["floor"]} for each in metrics]
    for way in sets[0]:
        for name in DISTRIBUTION:
            entries = [each[way][name] for each in sets]
            if None not in entries:
                found = interval_of_trainings([entry["value"] for entry in entries])
                rows.append(("generated", way, name, found))
    return pd.DataFrame(
        [
            {"kind": kind, "model": model, "metric": name, **found, "num_trainings": len(metrics)}
            for kind, model, name, found in rows
        ]
    )


def _take(frame: pd.DataFrame, model: str) -> pd.DataFrame:
    return frame[frame["model"] == model].set_index("index")[list(PAIRED)]
