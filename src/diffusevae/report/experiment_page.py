"""The report of an experiment: one HTML file that needs nothing else, readable by a stranger.

The same inputs give the same bytes: no date, time or machine is in it. How long the stages took is
added afterwards by `add_timings`, to a copy that is no DVC output.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined, Undefined
from markupsafe import Markup

from diffusevae.metrics.labels import MODEL_NAMES
from diffusevae.metrics.paired import METRICS
from diffusevae.report import report_tables as tables
from diffusevae.report.reference_study import CITATION, PRINTED, STUDY_SCALE, Scale

TEMPLATE = Path(__file__).with_name("experiment_page.html")
TIMINGS_START, TIMINGS_END = "<!-- timings -->", "<!-- end of timings -->"
DATASET_NAMES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}
TIMINGS_TABLE = """\
<p>Measured on {{ device }}. A stage that was up to date keeps the time of its last run.</p>
<table class="stack"><thead><tr><th>Stage</th><th class="number">Time</th>
<th class="number">Peak memory</th><th class="number">Also measured</th></tr></thead><tbody>
{% for row in rows %}<tr><th scope="row">{{ row.stage }}</th>
<td class="number" data-label="Time">{{ row.time }}</td>
<td class="number" data-label="Peak memory">{{ row.memory }}</td>
<td class="number" data-label="Also measured">{{ row.others }}</td></tr>
{% endfor %}</tbody></table>"""


@dataclass(frozen=True, eq=False)
class ShownPicture:
    """A PNG file with its texts and the section of the report it belongs to."""

    title: str
    caption: str
    section: str
    png: bytes

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the PNG's header."""
        return struct.unpack(">II", self.png[16:24])


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A checkpoint: its identity, size and configuration, and the losses of its training."""

    sha256: str
    num_parameters: int
    config: Mapping
    history: pd.DataFrame


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """What the report is made of.

    params: the experiment's entry in params.yaml, metrics: metrics.json, pictures in reading order,
    models by "vae", "ddpm", "diffusevae"; latent_shape Cz x h x w; best: the best.yaml of tune_vae
    and tune_ddpm, num_trials: how many trials each had.
    """

    experiment: str
    source: str
    scale: Scale
    params: Mapping
    metrics: Mapping
    pictures: Sequence[ShownPicture]
    models: Mapping[str, TrainedModel]
    latent_shape: Sequence[int]
    best: Mapping[str, Mapping]
    num_trials: Mapping[str, int]


def build_report(inputs: ReportInputs) -> str:
    """Return the report as HTML. Everything that comes from files is escaped."""
    source, scale = inputs.source, inputs.scale
    sections = {picture.section for picture in inputs.pictures}
    return (
        _environment()
        .from_string(TEMPLATE.read_text(encoding="utf-8"))
        .render(
            inputs=inputs,
            metrics=inputs.metrics,
            dataset=DATASET_NAMES.get(source, inputs.params["dataset"]),
            pictures={name: [p for p in inputs.pictures if p.section == name] for name in sections},
            summary=summarise(inputs),
            tiles=choose_tiles(inputs.metrics),
            paired=tables.paired_rows(inputs.metrics["paired"]),
            whole_sets={
                model: {name: tables.format_value(name, value) for name, value in row.items()}
                for model, row in inputs.metrics["set"].items()
            },
            generated=tables.generated_rows(inputs.metrics["generated"], inputs.metrics["floor"]),
            generated_columns=[METRICS[name] for name in tables.DISTRIBUTION],
            study=tables.study_rows(source, inputs.metrics) if source in PRINTED else [],
            scale=scale,
            comparable=scale.reaches(STUDY_SCALE),
            caveats=tables.study_caveats(),
            citation=CITATION,
            models=[describe_model(name, model) for name, model in inputs.models.items()],
            chosen=choose_tuned(inputs),
            params=tables.flatten(inputs.params),
            glossary=tables.glossary_rows(),
            timings_start=Markup(TIMINGS_START),
            timings_end=Markup(TIMINGS_END),
        )
    )


def summarise(inputs: ReportInputs) -> list[str]:
    """Return two sentences: what was run, and what came out."""
    vae, diffusevae = inputs.models["vae"], inputs.models["diffusevae"]
    size = "×".join(map(str, vae.config["image_shape"][1:]))
    numbers = 1
    for length in inputs.latent_shape:
        numbers *= length
    paired, generated = inputs.metrics["paired"], inputs.metrics["generated"]

    def value(name: str, entry: Mapping) -> str:
        return tables.format_value(name, entry[name]["value"])

    def training(model: TrainedModel) -> str:
        epochs = len(model.history)
        return f"{model.num_parameters:,} parameters, {epochs} epoch{'s' if epochs > 1 else ''}"

    return [
        f"A VAE ({training(vae)}) learned to squeeze images of {size} pixels into {numbers} "
        f"numbers and back, and a diffusion model ({training(diffusevae)}) learned to refine what "
        "the VAE gives back: together they are DiffuseVAE.",
        f"On {inputs.metrics['num_images']:,} test images that neither had seen, structural "
        f"similarity to the original is {value('ssim', paired['vae'])} for the VAE and "
        f"{value('ssim', paired['diffusevae'])} for DiffuseVAE; of "
        f"{inputs.metrics['num_generated']:,} newly made images, the Fréchet distance to real "
        f"ones is {value('frechet', generated['vae_prior'])} for the plain VAE and "
        f"{value('frechet', generated['diffusevae_gmm'])} for DiffuseVAE, where real images "
        f"themselves score {value('frechet', inputs.metrics['floor'])}.",
    ]


def choose_tiles(metrics: Mapping) -> list[dict]:
    """Return the headline numbers: a metric, its direction, and who scored what."""
    paired, generated = metrics["paired"], metrics["generated"]
    sources = [
        (name, paired["vae"], paired["diffusevae"], "test images restored")
        for name in ("mse", "ssim", "hist_sim")
    ]
    sources.append(
        ("frechet", generated["vae_prior"], generated["diffusevae_gmm"], "images generated")
    )
    return [
        {
            "name": METRICS[name].name,
            "direction": tables.describe_direction(METRICS[name].better),
            "vae": tables.format_value(name, vae[name]["value"]),
            "diffusevae": tables.format_value(name, diffusevae[name]["value"]),
            "of": of,
        }
        for name, vae, diffusevae, of in sources
    ]


def describe_model(name: str, model: TrainedModel) -> dict[str, str]:
    """Return what the table of models says of a checkpoint."""
    best = model.history.loc[model.history["validation_loss"].idxmin()]
    return {
        "name": MODEL_NAMES[name],
        "parameters": f"{model.num_parameters:,}",
        "epochs": str(len(model.history)),
        "loss": f"{best['validation_loss']:.4g} (epoch {int(best['epoch'])})",
        "sha256": model.sha256,
    }


def choose_tuned(inputs: ReportInputs) -> list[dict]:
    """Return each search with its number of trials, and each chosen value beside its base value."""
    found = []
    for stage, best in inputs.best.items():
        rows = [
            (f"{section}.{key}", tables.show(inputs.params[section][key]), tables.show(value))
            for section, values in best.items()
            for key, value in values.items()
        ]
        found.append(
            {
                "stage": stage,
                "model": MODEL_NAMES[stage.removeprefix("tune_")],
                "num_trials": inputs.num_trials[stage],
                "rows": rows,
            }
        )
    return found


def add_timings(html: str, timings: Mapping[str, Mapping[str, float]], device: str) -> str:
    """Return the report with a table of what the stages took in its section on timings.

    `timings` maps a stage to what StageLogger.timing recorded: seconds, peak_memory_mb, others by
    name. Raises ValueError where `html` has no such section.
    """
    head, start, rest = html.partition(TIMINGS_START)
    _, end, tail = rest.partition(TIMINGS_END)
    if not start or not end:
        raise ValueError("this HTML has no section for timings; give a report of build_report")
    rows = [_timing_row(stage, dict(values)) for stage, values in timings.items()]
    total = sum(values.get("seconds", 0.0) for values in timings.values())
    rows.append({"stage": "all together", "time": format_seconds(total)})
    table = _environment(strict=False).from_string(TIMINGS_TABLE).render(rows=rows, device=device)
    return f"{head}{start}\n{table}\n{end}{tail}"


def format_seconds(seconds: float) -> str:
    """Return e.g. 42 ms, 3.1 s, 2 min 05 s, 1 h 20 min."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def _timing_row(stage: str, values: dict[str, float]) -> dict[str, str]:
    seconds, memory = values.pop("seconds", None), values.pop("peak_memory_mb", None)
    return {
        "stage": stage,
        "time": "" if seconds is None else format_seconds(seconds),
        "memory": "" if memory is None else f"{memory:,.0f} MB",
        "others": "; ".join(_describe_timing(name, value) for name, value in values.items()),
    }


def _describe_timing(name: str, value: float) -> str:
    who = name.removesuffix("seconds_per_image").strip("_")
    if name.endswith("seconds_per_image"):
        return f"{MODEL_NAMES.get(who, who)} {format_seconds(value)} per image".strip()
    return f"{name.replace('_', ' ')} {value:,.4g}"


def _environment(strict: bool = True) -> Environment:
    return Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined if strict else Undefined,
    )
