"""The page that shows two versions of a model side by side: one file that needs nothing else."""

import io
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from torch import Tensor

from diffusevae.drawing import COLOURS, INK, Strip, draw_strips, figure_style, save_figure
from diffusevae.experiment import Experiment
from diffusevae.gate import Judgement, Made
from diffusevae.labels import ARROWS
from diffusevae.metrics import METRICS
from diffusevae.report import Picture
from diffusevae.report_tables import format_cell, format_value

TEMPLATE = Path(__file__).with_name("comparison.html")
REPORTS = Path("reports")
COLUMNS = 10


def write_page(
    experiment: Experiment, candidate: str, champion: str, decision: str, reason: str,
    judgements: Sequence[Judgement], num_images: int, real: Tensor, ours: Made, theirs: Made,
) -> Path:  # fmt: skip
    """Write reports/<experiment>-<candidate>-against-<champion>.html and return its path."""
    rows = [{
        "name": METRICS[each.metric].name, "arrow": ARROWS[METRICS[each.metric].better],
        "better": METRICS[each.metric].better, "verdict": each.verdict,
        "candidate": format_value(each.metric, each.candidate),
        "champion": format_value(each.metric, each.champion),
        "difference": format_cell(each.metric, each.difference),
    } for each in judgements]  # fmt: skip
    pictures = [
        Picture("The same test images, refined", f"The first {COLUMNS} test images, not chosen.",
                "", _draw([("Real test images", real, COLOURS["real"]),
                           (f"Champion, version {champion}", theirs.refined, INK),
                           (f"Candidate, version {candidate}", ours.refined,
                            COLOURS["diffusevae"])], 1)),
        Picture("Generated from the same seed", f"The first {2 * COLUMNS} images, not chosen.",
                "", _draw([(f"Champion, version {champion}", theirs.generated, INK),
                           (f"Candidate, version {candidate}", ours.generated,
                            COLOURS["diffusevae"])], 2)),
    ]  # fmt: skip
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    html = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        experiment=experiment, candidate=candidate, champion=champion, decision=decision,
        reason=reason, rows=rows, num_images=num_images, pictures=pictures,
    )  # fmt: skip
    REPORTS.mkdir(exist_ok=True)
    path = REPORTS / f"{experiment.name}-{candidate}-against-{champion}.html"
    path.write_text(html, encoding="utf-8")
    return path.absolute()


def _draw(strips: Sequence[tuple[str, Tensor, str]], rows: int) -> bytes:
    shown = [Strip(title, images[: rows * COLUMNS], colour) for title, images, colour in strips]
    file = io.BytesIO()
    with figure_style():
        save_figure(draw_strips(shown, COLUMNS), file)
    return file.getvalue()
