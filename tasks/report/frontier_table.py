"""The frontier's table; what it chose, and how test images confirmed it, in words.

Tables published before there were margins lack these columns, their default.json these entries;
what asks for them goes with the last of such tables.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from diffusevae.core.params import Schema
from diffusevae.core.readback import build_again, read_as
from diffusevae.studies.frontier.non_inferiority import JUDGED
from tasks.report.cells import render_change

COLUMNS: dict[str, Schema] = {
    **{f"{name}_non_inferior": bool for name in JUDGED},
    **{f"diffusevae_diversity{part}": float for part in ("", "_low", "_high")},
    "frechet_net_ratio": float | None,
}
COMPARED = (
    "sampler",
    "evaluations",
    "Fréchet distance at infinity, ratio",
    "Fréchet distance, change",
    "SSIM of refinements, change",
)
NONE = "–"  # where the converged sampler's images are as near as real ones
HEADS = ("within the margins", "variance of refinements, ratio")


@dataclass(frozen=True)
class Chosen:
    """A sampler of the frontier."""

    sampler: str
    eta: float
    num_steps: int


@dataclass(frozen=True)
class MeasuredChanges:
    """Its differences from the converged sampler on test images, with their 95 % intervals."""

    diffusevae_frechet_change: float
    diffusevae_frechet_low: float
    diffusevae_frechet_high: float
    diffusevae_ssim_change: float
    diffusevae_ssim_low: float
    diffusevae_ssim_high: float


@dataclass(frozen=True)
class Confirmed:
    """What default.json says of the choice; see `studies.frontier.confirmation`."""

    chosen: Chosen | None
    confirmed: bool
    confirmation: MeasuredChanges | None
    num_images: int


def has_verdicts(table: pd.DataFrame) -> bool:
    """Return whether a table says what is proven."""
    return set(COLUMNS) <= set(table.columns)


def render_frontier(
    table: pd.DataFrame, section: Mapping
) -> tuple[list[str], list[str], list[list[str]]]:
    """Return what stands above the table, its heads, its cells."""
    rows = []
    for row in table.to_dict("records"):
        name = f"ddim, eta {row['eta']:g}" if row["sampler"] == "ddim" else row["sampler"]
        rows.append(
            [
                name,
                row["num_steps"],
                _render_ratio(row),
                render_change("frechet", row, "diffusevae_frechet"),
                render_change("ssim", row, "diffusevae_ssim"),
                *(_render_verdict(row) if has_verdicts(table) else ()),
            ]
        )
    # Published before differences were extrapolated: the text goes with the last of them.
    intervals = (
        "95 % intervals of the paired differences, those of Fréchet distances "
        "extrapolated to infinitely many images"
        if "diffusevae_frechet_converged" in table
        else "95 % bootstrap intervals of the paired differences"
    )
    head = [
        "## Fewer network evaluations",
        "",
        f"DiffuseVAE against its own converged sampler ({section['converged_steps']} steps of "
        f"DDIM), {section['num_images']:,} images, the same noise; {intervals}.",
        *_describe_margins(section),
    ]
    if not has_verdicts(table):
        return head, [name.replace(" at infinity", "") for name in COMPARED], rows
    return head, [*COMPARED, *HEADS], rows


def _render_ratio(row: Mapping) -> str:
    """Return the ratio of distances net of the floor; of older tables, of the images at hand."""
    if "frechet_net_ratio" in row:
        return NONE if math.isnan(row["frechet_net_ratio"]) else f"{row['frechet_net_ratio']:.3f}"
    end = row.get(
        "diffusevae_frechet_converged", row["diffusevae_frechet"] - row["diffusevae_frechet_change"]
    )
    return f"{row['diffusevae_frechet'] / end:.3f}"


def _describe_margins(section: Mapping) -> list[str]:
    if "margins" not in section:
        return []
    ssim, frechet = (section["margins"][name] for name in ("ssim", "frechet"))
    return [
        f"Within the margins: proven to lose less than {frechet:g} of Fréchet distance and "
        f"{ssim:g} of SSIM, one-sided at 2.5 % over all settings tried (Bonferroni). The variance "
        "is that of refinements of the same picture from other noise."
    ]


def _render_verdict(row: Mapping) -> list[str]:
    """Return the cells under HEADS."""
    proven = all(row[f"{name}_non_inferior"] for name in JUDGED)
    kept, low, high = (row[f"diffusevae_diversity{part}"] for part in ("", "_low", "_high"))
    return ["proven" if proven else "not proven", f"{kept:.2f} [{low:.2f}, {high:.2f}]"]


def render_choice(path: Path) -> list[str]:
    """Return what the default.json at `path` says of the choice, as Markdown. Raises InputError."""
    mend = "run `dvc repro` of the stage frontier, then `diffusevae results`"
    content = read_as(dict, path, mend) if path.is_file() else {}
    if "confirmed" not in content:
        return []
    values = _pick(Confirmed, content)
    if isinstance(values.get("confirmation"), dict):
        values["confirmation"] = _pick(MeasuredChanges, values["confirmation"])
    found = build_again(Confirmed, values, str(path), mend)
    text = "Least evaluations that are proven within the margins on validation images: "
    if found.chosen is None or found.confirmation is None:
        return ["", f"{text}none. The converged sampler stays the default."]
    eta = f", eta {found.chosen.eta:g}" if found.chosen.sampler == "ddim" else ""
    verdict = (
        "Confirmed: it is the default."
        if found.confirmed
        else "**Not confirmed**: the converged sampler stays the default."
    )
    return [
        "",
        f"{text}{found.chosen.num_steps}, by `{found.chosen.sampler}`{eta}. Measured once more, on "
        f"{found.num_images:,} test images: {_describe_changes(found.confirmation)}. {verdict}",
    ]


def _pick(schema: type, content: Mapping) -> dict:
    names = [field.name for field in dataclasses.fields(schema)]
    return {name: content[name] for name in names if name in content}


def _describe_changes(found: MeasuredChanges) -> str:
    row = dataclasses.asdict(found)
    return " and ".join(
        f"{title} {render_change(metric, row, f'diffusevae_{metric}')}"
        for metric, title in (("frechet", "Fréchet distance"), ("ssim", "SSIM"))
    )
