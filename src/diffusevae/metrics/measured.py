"""What stages measured, read again: metrics.json and their tables, with all that readers use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pandas as pd

from diffusevae.core.errors import InputError
from diffusevae.core.params import Range, Schema, build
from diffusevae.core.readback import LARGEST, read_json, read_table
from diffusevae.metrics.labels import RESTORERS, RIVALS, WAYS
from diffusevae.metrics.metric import DISTRIBUTION, PAIRED

NUMBER = Annotated[float, Range(-LARGEST, LARGEST)]
COUNT = Annotated[int, Range(1, 10**12)]
ENTRY = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
COMPARED = (*RESTORERS, "difference", "control")
# Null where no source had LPIPS' network, and where there are not more images than features.
UNMEASURED = ("lpips", "frechet_inf", *RIVALS)
SETS = dict.fromkeys(DISTRIBUTION, ENTRY)
COUNTS = tuple[Annotated[int, Range(0, 10**12)], ...]  # one for each class; or numbers of classes
CLASSES = {"counts": COUNTS, "p_value": Annotated[float, Range(0, 1)], "missed": COUNTS}
SHAPE = {
    "num_images": COUNT,
    "num_generated": COUNT,
    "paired": {of: dict.fromkeys(PAIRED, ENTRY) for of in COMPARED},
    "set": {
        model: {"hist_sim": NUMBER, "psnr": NUMBER, "hist_sim_unrounded": NUMBER}
        for model in RESTORERS
    },
    "generated": dict.fromkeys(WAYS, SETS),
    "floor": SETS,
    "gains": dict.fromkeys(RIVALS, ENTRY),
    "stretch": {"black": NUMBER, "white": NUMBER},
    "classifier": {
        "num_classes": COUNT,
        "num_features": COUNT,
        "test_accuracy": Annotated[float, Range(0, 1)],
    },
    "lpips": {"backbone": str, "available": bool, "reason": str},
    "intervals_of_sets": str,
    "warnings": tuple[str, ...],
    "classes": {"real": COUNTS, "sets": {way: CLASSES for way in (*WAYS, "floor")}},
}
# Some of what is published (docs/results) was measured before these: the text goes with the last.
NEW = {
    *("intervals_of_sets", "warnings", "classes", "stretch", "stretched", "control"),
    *("stretched_gmm", "gains", "frechet_inf", "hist_sim_unrounded", "density", "coverage"),
}


def read_metrics(path: Path) -> dict:
    """Return a metrics.json. Raises InputError where it is missing, or of another shape."""
    mend = "make it again with the stage evaluate"
    metrics = read_json(path, mend)
    try:
        is_old = isinstance(metrics, Mapping) and not NEW & metrics.keys()
        _check(_leave_out_new(SHAPE) if is_old else SHAPE, metrics, str(path))
        if "classes" in metrics:
            _check_counts(metrics, f"{path} classes")
    except InputError as error:
        raise InputError(f"{error}; {mend}") from error
    return metrics


def _leave_out_new(shape: object) -> object:
    if not isinstance(shape, Mapping):
        return shape
    return {name: _leave_out_new(part) for name, part in shape.items() if name not in NEW}


def _check_counts(metrics: Mapping, place: str) -> None:
    """Raise InputError unless there is a count for each class, of at least one image in all."""
    classes, number = metrics["classes"], metrics["classifier"]["num_classes"]
    counted = {"real": classes["real"]}
    counted |= {way: found["counts"] for way, found in classes["sets"].items()}
    for name, counts in counted.items():
        if len(counts) != number or not sum(counts):
            raise InputError(f"{place} {name}: holds no counts of images of {number} classes")


def read_per_image(path: Path) -> pd.DataFrame:
    """Return evaluate's table of a row per image and model. Raises InputError."""
    columns: dict[str, Schema] = {"index": int, "label": int, "model": str}
    columns |= {name: float | None if name in UNMEASURED else float for name in PAIRED}
    return read_table(path, columns, "make it again with the stage evaluate", least=2)


def read_history(folder: Path) -> pd.DataFrame:
    """Return a training's history.csv, a row per epoch. Raises InputError."""
    columns = {"epoch": int, "train_loss": float, "validation_loss": float}
    return read_table(
        folder / "history.csv", columns, f"make it again with the stage {folder.name}", least=1
    )


def read_trials(folder: Path) -> pd.DataFrame:
    """Return a search's trials.csv; a trial that was not finished may have no value.

    Raises InputError.
    """
    return read_table(
        folder / "trials.csv",
        {"number": int, "state": str, "value": float | None},
        f"make it again with the stage {folder.name}",
    )


def read_importances(folder: Path) -> pd.DataFrame:
    """Return a search's importances.csv, shares of a whole. Raises InputError."""
    path, mend = folder / "importances.csv", f"make it again with the stage {folder.name}"
    table = read_table(path, {"name": str, "importance": float}, mend)
    if not table["importance"].between(0, 1).all():
        raise InputError(f"{path}: column importance must hold shares from 0 to 1; {mend}")
    return table


def _check(shape: object, value: object, place: str) -> None:
    """Raise InputError where a value has another shape: nested keys, or a type at the end."""
    if not isinstance(shape, Mapping):
        build(shape, value, place)
        return
    content = build(dict, value, place)
    if missing := [name for name in shape if name not in content]:
        raise InputError(f"{place}: has no {missing[0]}")
    if unknown := [name for name in content if name not in shape]:
        raise InputError(f"{place}: {unknown[0][:40]!r} is no part of it")
    for name, part in content.items():
        if part is not None or name not in UNMEASURED or shape[name] is not ENTRY:
            _check(shape[name], part, f"{place} {name}")
