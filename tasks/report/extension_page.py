"""The page of one stage on demand in docs/results/extensions, made of its tables alone."""

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from diffusevae.core.errors import InputError
from diffusevae.core.readback import read_table
from diffusevae.core.yaml_file import read_yaml
from diffusevae.report.report_tables import NOT_MEASURED, format_value
from tasks.dvc.excerpt import FILE, Excerpt, read_excerpt

WORDS = Path(__file__).with_name("columns.yaml")
SHOWN_ROWS = 200  # of a table; the file has them all


def read_words(stage: str) -> Mapping:
    """Return what a stage asks, what its intervals are, and the words of its columns.

    Raises InputError for a stage that has none.
    """
    words = read_yaml(WORDS)
    if stage not in words:
        raise InputError(f"{WORDS.name}: has no words for {stage}; add what its columns are")
    return words[stage]


def render_page(folder: Path, device: str) -> str:
    """Return the README.md of a folder STAGE/EXPERIMENT. Raises InputError."""
    stage, name = folder.parts[-2:]
    excerpt = read_excerpt(folder)
    lines = [
        f"# {stage} on {name}",
        "",
        f"`dvc repro {stage}@{name}`, {device}. The MD5 by which dvc.lock knows these files, and "
        f"the params of the stages that they come from, stand in [{FILE}]({FILE}).",
        "",
        *render_tables(folder, excerpt),
        "## Pictures",
        "",
    ]
    for path in sorted(folder.glob("*.png")):
        lines += [f"![{path.stem.replace('_', ' ')}]({path.name})", ""]
    return "\n".join(lines)


def render_tables(folder: Path, excerpt: Excerpt) -> list[str]:
    """Return what of a page follows from its tables and their params. Raises InputError."""
    stage, name = folder.parts[-2:]
    words = read_words(stage)
    lines = [
        f"{words['asks']} More on it: [docs/extensions.md](../../../../extensions.md).",
        "",
        f"Set to: {_describe_params(stage, name, excerpt)}.",
        "",
        f"Values are followed by their interval, [low, high]: {words['intervals']}.",
        "",
    ]
    for path in sorted(folder.glob("*.csv")):
        table = read_table(path, {}, f"run `dvc repro {stage}@{name}`, then publish it again")
        lines += _render_table(path.name, table, words["columns"])
    return lines


def _describe_params(stage: str, name: str, excerpt: Excerpt) -> str:
    params = excerpt[f"{stage}@{name}"]["params"]["params.yaml"]
    values = {"seed": params.get(f"experiments.{name}.seed")}
    values |= params.get(f"experiments.{name}.{stage}", {})
    return ", ".join(f"`{key}: {_show(value)}`" for key, value in values.items())


def _show(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_show(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_show, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _render_table(file: str, table: pd.DataFrame, words: Mapping[str, str]) -> list[str]:
    """Return the heading of a table, what its columns are, and its rows."""
    bounds = {name: find_bounds(name, set(table.columns)) for name in table.columns}
    within = {bound for pair in bounds.values() for bound in pair}
    shown = [name for name in table.columns if name not in within]
    if unknown := [name for name in shown if name not in words]:
        raise InputError(
            f"{WORDS.name}: has no words for column {', '.join(unknown)} of {file}; add them"
        )
    rows = [
        [_render_cell(row, name, bounds[name]) for name in shown]
        for row in table.head(SHOWN_ROWS).to_dict("records")
    ]
    return [
        f"## [{file}]({file}), {len(table)} rows",
        "",
        *(f"- `{name}`: {words[name]}" for name in shown),
        "",
        f"| {' | '.join(shown)} |",
        "|---" * len(shown) + "|",
        *(f"| {' | '.join(cells)} |" for cells in rows),
        "",
    ]


def find_bounds(name: str, columns: set[str]) -> tuple[str, str] | tuple[()]:
    """Return the columns that hold a column's interval; none where it has none.

    Those of a change are called like it, or, where that is all there is, like what changes.
    """
    stems = [f"{name}_"]
    if name.endswith("_change"):
        stems.append(name.removesuffix("change"))
    elif f"{name}_change" in columns and f"{name}_change_low" not in columns:
        stems = []
    if name == "value":
        stems.append("")
    for stem in stems:
        if {f"{stem}low", f"{stem}high"} <= columns:
            return f"{stem}low", f"{stem}high"
    return ()


def _render_cell(row: Mapping, name: str, bounds: tuple[str, str] | tuple[()]) -> str:
    value = row[name]
    if not bounds or math.isnan(value):
        return render_value(value)
    middle, low, high = (_format(row[column]) for column in (name, *bounds))
    return f"{middle} [{low}, {high}]"


def render_value(value: object) -> str:
    """Return a value of a table that has no interval: a setting, a count, a name."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")
    return f"{value:g}".replace("-", "−") if value == round(value, 2) else _format(value)


def _format(value: float) -> str:
    return NOT_MEASURED if math.isnan(value) else format_value("", value)
