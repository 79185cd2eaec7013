"""The report's table of classes: which share of a model's images the classifier takes for each."""

from collections.abc import Mapping, Sequence

from scipy.stats import binomtest

from diffusevae.metrics.labels import FLOOR, WAYS
from diffusevae.report.report_tables import Cell, Row

MOST_CLASSES = 20  # that are shown; p is of all
REAL = "Real test images"


def list_classes(metrics: Mapping) -> list[int]:
    """Return the classes to show; none where there is one class only, or they were not counted."""
    if metrics["classifier"]["num_classes"] < 2 or "classes" not in metrics:
        return []
    return list(range(min(metrics["classifier"]["num_classes"], MOST_CLASSES)))


def class_rows(metrics: Mapping) -> list[Row]:
    """Return a row per way to generate, one for the floor and one for the real test images.

    A cell for each class shown: its share in %, with Wilson's 95 % interval; marked (`best`) where
    the class is missed. The remark is the p-value.
    """
    shown = list_classes(metrics)
    if not shown:
        return []
    titles = {way: title for way, (title, _) in WAYS.items()} | {"floor": FLOOR}
    sets = metrics["classes"]["sets"]
    rows = [
        Row(
            title,
            "",
            _list_cells(sets[way]["counts"], shown, sets[way]["missed"]),
            f"{sets[way]['p_value']:.2g}",
        )
        for way, title in titles.items()
    ]
    return [*rows, Row(REAL, "", _list_cells(metrics["classes"]["real"], shown, ()))]


def _list_cells(
    counts: Sequence[int], shown: Sequence[int], missed: Sequence[int]
) -> tuple[Cell, ...]:
    total, cells = sum(counts), []
    for k in shown:
        reach = binomtest(counts[k], total).proportion_ci(0.95, "wilson")
        interval = f"{100 * reach.low:.1f} to {100 * reach.high:.1f}"
        cells.append(Cell(f"{100 * counts[k] / total:.1f}", interval, k in missed))
    return tuple(cells)
