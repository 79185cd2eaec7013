"""The tables of the report as rows of text: numbers formatted, directions spelled out, verdicts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import tensor

from diffusevae.metrics.labels import FLOOR, RESTORERS, WAYS, describe_direction
from diffusevae.metrics.metric import DISTRIBUTION, METRICS, PAIRED, Metric
from diffusevae.metrics.paired import psnr_of_mse
from diffusevae.metrics.verdicts import DIFFERENCES, find_winner
from diffusevae.report.reference_study import CAVEATS, CORRECTIONS, PRINTED, correct

NOT_MEASURED, NOT_GIVEN = "not measured", "not given"
MODELS = ("vae", "diffusevae")  # those of the study
DECIMALS = {
    "mse": 5,
    "psnr": 2,
    "ssim": 3,
    "lpips": 4,
    "mae": 4,
    "edge_sim": 3,
    "hist_sim": 3,
    "precision": 3,
    "recall": 3,
    "density": 3,
    "coverage": 3,
}
SIGNIFICANT = 3  # digits of metrics whose scale depends on the features: Frechet distance, KID
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Cell:
    """A measured value and its 95 % interval as text; `best` where it wins its comparison."""

    value: str
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One metric, or one way to generate: what it is called, its cells, and a remark."""

    name: str
    direction: str
    cells: tuple[Cell, ...]
    remark: str = ""


def format_value(name: str, value: float) -> str:
    """Return a metric's value as text, e.g. 0.00662 or 7.38 · 10⁻⁶, with a true minus sign."""
    decimals = DECIMALS.get(name)
    if 0 < abs(value) < min(1e-4, 10.0 ** -(decimals or 0)):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa} · 10{str(int(exponent)).translate(SUPERSCRIPTS)}".replace("-", "−")
    if decimals is None:
        size = math.floor(math.log10(abs(value))) if value else 0
        decimals = max(0, SIGNIFICANT - 1 - size)
    text = f"{value:,.{decimals}f}"
    is_zero = not text.strip("-0.")  # "-0.00" is no number to print
    return text.lstrip("-") if is_zero else text.replace("-", "−")


def format_cell(name: str, entry: Mapping[str, float] | None, best: bool = False) -> Cell:
    """Return value and interval of an entry of metrics.json; None was not measured."""
    if entry is None:
        return Cell(NOT_MEASURED)
    low, high = (format_value(name, entry[bound]) for bound in ("low", "high"))
    return Cell(format_value(name, entry["value"]), f"{low} to {high}", best)


def paired_rows(paired: Mapping) -> list[Row]:
    """Return a row per paired metric: each of RESTORERS, both differences, and who is better."""
    rows = []
    for name in PAIRED:
        winner = find_winner(name, paired)
        cells = [format_cell(name, paired[model][name], model == winner) for model in RESTORERS]
        cells += [format_cell(name, paired[key][name]) for key in DIFFERENCES.values()]
        remark = RESTORERS.get(winner, "no clear difference")
        rows.append(
            Row(
                METRICS[name].name,
                describe_direction(METRICS[name].better),
                tuple(cells),
                NOT_MEASURED if paired["difference"][name] is None else remark,
            )
        )
    return rows


def generated_rows(generated: Mapping, floor: Mapping) -> list[Row]:
    """Return a row per way to generate and one for the floor; the best of each column is marked."""
    best = {name: _best_way(generated, name) for name in DISTRIBUTION}
    rows = [
        Row(
            title,
            "",
            tuple(
                format_cell(name, generated[way][name], best[name] == way) for name in DISTRIBUTION
            ),
        )
        for way, (title, _) in WAYS.items()
        if way in generated
    ]
    floor_cells = tuple(format_cell(name, floor[name]) for name in DISTRIBUTION)
    return [*rows, Row(FLOOR, "", floor_cells)]


def list_gains(metrics: Mapping) -> list[tuple[str, Cell]]:
    """Return (rival, DiffuseVAE's Fréchet distance less its) of each rival that was measured."""
    return [
        (WAYS[rival][0], format_cell("frechet", entry))
        for rival, entry in metrics["gains"].items()
        if entry is not None
    ]


def _best_way(generated: Mapping, name: str) -> str:
    sign = 1 if METRICS[name].better == "lower" else -1
    found = {way: entry[name]["value"] for way, entry in generated.items() if entry[name]}
    return min(found, key=lambda way: sign * found[way], default="")


def study_rows(dataset: str, metrics: Mapping) -> list[Row]:
    """Return a row per metric: for each model the study's number as printed, as we read it, ours.

    `metrics` is metrics.json. Three rows more hold what depends on a choice the study does not
    state: the PSNR of the mean MSE, HistSim of all images at once, and of values not rounded.
    """
    rows = []
    for name in PAIRED:
        each = {
            model: (
                _as_printed(PRINTED[dataset][model][name]),
                _corrected(dataset, model, name),
                metrics["paired"][model][name],
            )
            for model in MODELS
        }
        rows.append(_study_row(METRICS[name].name, name, each))
        if name == "psnr":
            of_mean = {
                model: (
                    NOT_GIVEN,
                    _psnr_of_printed(dataset, model),
                    {"value": metrics["set"][model][name]},
                )
                for model in MODELS
            }
            rows.append(_study_row("PSNR (dB) of the mean MSE", name, of_mean))
    for title, key in (
        ("HistSim of all images at once", "hist_sim"),
        ("HistSim of values that are not rounded", "hist_sim_unrounded"),
    ):
        found = {
            model: (NOT_GIVEN, NOT_GIVEN, {"value": metrics["set"][model][key]}) for model in MODELS
        }
        rows.append(_study_row(title, "hist_sim", found))
    return rows


def _study_row(title: str, name: str, entries: Mapping[str, tuple]) -> Row:
    """Return a row from (printed, corrected, our entry of metrics.json or None) by model."""
    cells = []
    for printed, corrected, ours in entries.values():
        value = NOT_MEASURED if ours is None else format_value(name, ours["value"])
        cells += [Cell(printed), Cell(corrected), Cell(value)]
    return Row(title, describe_direction(METRICS[name].better), tuple(cells))


def _as_printed(value: float) -> str:
    """Return a number of the study without digits that it does not have."""
    return format_value("lpips", value) if value < 1e-4 else f"{value:g}"


def _corrected(dataset: str, model: str, name: str) -> str:
    if name not in CORRECTIONS:
        return "as printed"
    return format_value(name, correct(dataset)[model][name])


def _psnr_of_printed(dataset: str, model: str) -> str:
    mean_mse = tensor(PRINTED[dataset][model]["mse"])
    return format_value("psnr", float(psnr_of_mse(mean_mse)))


def study_caveats() -> list[tuple[str, str]]:
    """Return (metric, what to know when comparing) in the order of the table."""
    return [(METRICS[name].name, CAVEATS[name]) for name in PAIRED if name in CAVEATS]


def glossary_rows() -> list[tuple[str, str, str]]:
    """Return (metric, direction and range, formula) of every metric."""
    return [
        (
            metric.name,
            f"{describe_direction(metric.better)}; {_describe_range(metric)}",
            metric.formula,
        )
        for metric in METRICS.values()
    ]


def _describe_range(metric: Metric) -> str:
    if metric.low is None and metric.high is None:
        return "any number"
    if metric.high is None:
        return f"{metric.low:g} and more"
    return f"{metric.low:g} to {metric.high:g}".replace("-", "−")


def flatten_params(values: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """Return ("vae.kl_weight", "1e-05"), ... of nested params, in their order."""
    rows = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            rows += flatten_params(value, f"{name}.")
        else:
            rows.append((name, show(value)))
    return rows


def show(value: object) -> str:
    """Return a value of params.yaml as it would be written there."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(show, value))}]"
    return "{}" if value == {} else str(value)
