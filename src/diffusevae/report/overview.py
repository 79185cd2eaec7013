"""The page of a set of latent studies: one HTML file that needs nothing else.

The same inputs give the same bytes. How long the stages took is added afterwards, to a copy
(diffusevae.report.timings).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from markupsafe import Markup

from diffusevae.core.readback import read_png, read_table
from diffusevae.core.template import render
from diffusevae.core.tensor_file import load_tensors
from diffusevae.latents.models.beta_vae import load_vector_vae
from diffusevae.latents.page.cards import read_cards
from diffusevae.latents.page.chapter import Chapter, Headline, read_chapter
from diffusevae.latents.page.sliders import SCRIPT_SOURCE, draw_sliders
from diffusevae.report.page import STYLE, ShownPicture
from diffusevae.report.report_tables import Cell, format_value
from diffusevae.report.timings import TIMINGS_END, TIMINGS_START

TEMPLATE = Path(__file__).with_name("overview.html")
LONGEST_TABLE = 60  # rows shown; the CSV has all
STARTS = 3  # archetypes that sliders start from
NO_VALUE = "–"


@dataclass(frozen=True, eq=False)
class ShownTable:
    """A table as text: column names, whether each holds numbers, and rows of cells."""

    title: str
    caption: str
    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[Cell]]
    left_out: int


@dataclass(frozen=True, eq=False)
class Study:
    """A chapter with its files read; `name` is its stage, `extra` HTML to show before pictures."""

    name: str
    chapter: Chapter
    pictures: Sequence[ShownPicture]
    tables: Sequence[ShownTable]
    extra: Markup | str = ""


def read_study(folder: Path, name: str, extra: Markup | str = "") -> Study:
    """Return the study in its stage's folder. Raises InputError where a file is missing."""
    chapter = read_chapter(folder)
    mend = f"make it again with the stage {name}"
    pictures = [
        ShownPicture(part.title, part.caption, name, read_png(folder / part.file, mend))
        for part in chapter.pictures
    ]
    tables = [
        show_table(part.title, part.caption, read_table(folder / part.file, {}, mend))
        for part in chapter.tables
    ]
    return Study(name, chapter, pictures, tables, extra)


def build_overview(name: str, params: Mapping[str, str], studies: Sequence[Study]) -> str:
    """Return the page as HTML. Everything that comes from files is escaped, except `extra`.

    params: dataset, other_dataset and experiment of the latent study `name`.
    """
    claims = [(study, claim) for study in studies for claim in study.chapter.claims]
    return render(
        TEMPLATE,
        name=name,
        params=params,
        studies=studies,
        claims=claims,
        verdicts={
            verdict: sum(claim.verdict == verdict for _, claim in claims)
            for verdict in ("holds", "fails", "open")
        },
        headline=describe_headline,
        style=STYLE,
        script_source=Markup(SCRIPT_SOURCE),
        timings_start=Markup(TIMINGS_START),
        timings_end=Markup(TIMINGS_END),
    )


def describe_headline(headline: Headline) -> Cell:
    """Return a headline's value and interval as text."""
    return _cell(headline.value, headline.low, headline.high)


def show_table(title: str, caption: str, table: pd.DataFrame) -> ShownTable:
    """Return a table as text.

    A column x goes together with its interval x_low and x_high, and any value with `low` and
    `high`, into one; numbers have three digits.
    """
    intervals = _find_intervals(list(table.columns))
    hidden = {bound for bounds in intervals.values() for bound in bounds}
    columns = [column for column in table.columns if column not in hidden]
    rows = [
        [
            _cell(row[column], *(row[bound] for bound in intervals.get(column, ())))
            for column in columns
        ]
        for row in table.head(LONGEST_TABLE).to_dict("records")
    ]
    numeric = [pd.api.types.is_numeric_dtype(table[column]) for column in columns]
    return ShownTable(
        title,
        caption,
        [column.replace("_", " ") for column in columns],
        numeric,
        rows,
        max(0, len(table) - LONGEST_TABLE),
    )


def _find_intervals(columns: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the two bounds of every column that has them."""
    found = {
        column: (f"{column}_low", f"{column}_high")
        for column in columns
        if {f"{column}_low", f"{column}_high"} <= set(columns)
    }
    if "low" in columns[1:] and "high" in columns:
        found[columns[columns.index("low") - 1]] = ("low", "high")
    return found


def _cell(value: object, low: object = None, high: object = None) -> Cell:
    if low is None or high is None or pd.isna(low) or pd.isna(high):
        return Cell(_text(value))
    return Cell(_text(value), f"{_text(low)} to {_text(high)}")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if float(value).is_integer():
        return f"{int(value):,}".replace("-", "−")
    return format_value("", float(value))


def make_sliders(beta_vae: Path) -> Markup:
    """Return sliders for the model in the beta-VAE study's folder, from a few class archetypes."""
    model = load_vector_vae(beta_vae / "model.safetensors")
    cards = read_cards(beta_vae / "cards.csv", model.config.latents)
    archetypes = load_tensors(beta_vae / "archetypes.safetensors")
    codes, labels = archetypes["class_codes"], archetypes["class_labels"]
    chosen = torch.linspace(0, len(codes) - 1, min(STARTS, len(codes))).round().long()
    names = [f"the ideal {label}" for label in labels[chosen].tolist()]
    return draw_sliders(model, cards, codes[chosen], names)
