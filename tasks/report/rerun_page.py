"""The page of a rerun, or of two versions side by side: one HTML file that needs nothing else."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffusevae.core.template import render
from diffusevae.experiments.experiment import Experiment
from diffusevae.figures.drawing import COLOURS, INK, Strip, draw_strips, figure_style, save_figure
from diffusevae.metrics.labels import ARROWS
from diffusevae.metrics.metric import METRICS
from diffusevae.metrics.promotion import Judgement
from diffusevae.report.page import STYLE, ShownPicture
from diffusevae.report.report_tables import format_cell, format_value
from tasks.dvc.lock import Changes
from tasks.registry.gate import Comparison
from tasks.report.publication import REPORTS
from tasks.stage import StageResult

TEMPLATE = Path(__file__).with_name("rerun.html")
COLUMNS = 10


@dataclass(frozen=True)
class Rerun:
    """What a rerun found changed, what became of its stages, and what the gate said.

    environment: "name: old -> new" of packages and device, against the champion's.
    """

    changes: Changes
    environment: Sequence[str]
    stages: Sequence[StageResult]
    verdict: str


def write_page(
    experiment: Experiment, name: str, comparison: Comparison | None, rerun: Rerun | None = None
) -> Path:
    """Write reports/<name>.html and return its path."""
    html = render(
        TEMPLATE,
        style=STYLE,
        experiment=experiment,
        comparison=comparison,
        rerun=rerun,
        rows=[_describe(each) for each in comparison.judgements] if comparison else [],
        pictures=_draw_all(comparison) if comparison else [],
    )
    REPORTS.mkdir(exist_ok=True)
    path = (REPORTS / f"{name}.html").absolute()
    path.write_text(html, encoding="utf-8")
    return path


def _describe(judgement: Judgement) -> dict:
    metric, name = METRICS[judgement.metric], judgement.metric
    return {
        "name": metric.name,
        "arrow": ARROWS[metric.better],
        "better": metric.better,
        "verdict": judgement.verdict,
        "candidate": format_value(name, judgement.candidate),
        "champion": format_value(name, judgement.champion),
        "difference": format_cell(name, judgement.difference),
    }


def _draw_all(comparison: Comparison) -> list[ShownPicture]:
    champion = f"Champion, version {comparison.champion}"
    candidate = f"Candidate, version {comparison.candidate}"
    ours, theirs = comparison.ours, comparison.theirs
    refined = [
        Strip("Real validation images", comparison.real, COLOURS["real"]),
        Strip(champion, theirs.refined, INK),
        Strip(candidate, ours.refined, COLOURS["diffusevae"]),
    ]
    generated = [
        Strip(champion, theirs.generated, INK),
        Strip(candidate, ours.generated, COLOURS["diffusevae"]),
    ]
    return [
        ShownPicture(
            "The same validation images, refined",
            f"The first {COLUMNS} validation images, not chosen.",
            "",
            _draw(refined, COLUMNS),
        ),
        ShownPicture(
            "Generated from the same seed",
            f"The first {2 * COLUMNS} images, not chosen.",
            "",
            _draw(generated, 2 * COLUMNS),
        ),
    ]


def _draw(strips: Sequence[Strip], count: int) -> bytes:
    shown = [replace(strip, images=strip.images[:count].cpu()) for strip in strips]
    file = io.BytesIO()
    with figure_style():
        save_figure(draw_strips(shown, COLUMNS), file)
    return file.getvalue()
