"""What a latent study found, as a chapter of the page that shows them all side by side.

A study's stage writes its pictures and tables, and chapter.json with what a reader should know of
them; diffusevae.report.overview makes the page.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffusevae.core.readback import read_as
from diffusevae.latents.measures.evidence import Verdict

FILE = "chapter.json"


@dataclass(frozen=True)
class Picture:
    """A PNG beside chapter.json; the caption says what to look at."""

    file: str
    title: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A CSV beside chapter.json: its first column names the rows."""

    file: str
    title: str
    caption: str


@dataclass(frozen=True)
class Claim:
    """What a source says without a number, and what the numbers say of it."""

    claim: str
    source: str
    verdict: Verdict
    evidence: str


@dataclass(frozen=True)
class Headline:
    """A number to compare over experiments: its 95 % interval or spread, and what that is."""

    name: str
    value: float
    low: float | None
    high: float | None
    of: str  # e.g. "median of 5 seeds, least and greatest"


@dataclass(frozen=True)
class Chapter:
    """One study. summary: a few sentences for a stranger, what was done and what came out."""

    title: str
    summary: tuple[str, ...]
    headlines: tuple[Headline, ...]
    claims: tuple[Claim, ...]
    pictures: tuple[Picture, ...]
    tables: tuple[Table, ...]


def write_chapter(folder: Path, chapter: Chapter) -> None:
    """Write chapter.json. Raises ValueError where a picture or table that it names is missing."""
    named = [picture.file for picture in chapter.pictures]
    named += [table.file for table in chapter.tables]
    if missing := [name for name in named if not (folder / name).is_file()]:
        raise ValueError(f"{folder}: the chapter names {', '.join(missing)}; write them first")
    text = json.dumps(dataclasses.asdict(chapter), indent=2, ensure_ascii=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_chapter(folder: Path) -> Chapter:
    """Return the chapter of a study's folder. Raises InputError."""
    return read_as(Chapter, folder / FILE, "make it again with its stage")


def name_metrics(values: Mapping[str, float]) -> dict[str, float]:
    """Return numbers under names that MLflow takes: letters, digits, spaces and . - : / only."""
    return {re.sub(r"[^A-Za-z0-9 .:/_-]", "", name): value for name, value in values.items()}
