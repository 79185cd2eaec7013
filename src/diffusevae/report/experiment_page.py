"""The report of an experiment: one HTML file that needs nothing else, readable by a stranger.

The same inputs give the same bytes: no date, time or machine is in it. How long the stages took is
added afterwards, to a copy that is no DVC output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from diffusevae.core.template import render
from diffusevae.metrics.labels import MODEL_NAMES
from diffusevae.metrics.metric import METRICS
from diffusevae.report import report_tables as tables
from diffusevae.report.class_table import class_rows, list_classes
from diffusevae.report.page import STYLE, ShownPicture
from diffusevae.report.reference_study import CITATION, PRINTED, STUDY_SCALE, Scale
from diffusevae.report.timings import TIMINGS_END, TIMINGS_START
from diffusevae.report.tuned_table import list_tuned

TEMPLATE = Path(__file__).with_name("experiment_page.html")
DATASET_NAMES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}


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
    return render(
        TEMPLATE,
        style=STYLE,
        inputs=inputs,
        metrics=inputs.metrics,
        dataset=DATASET_NAMES.get(source, inputs.params["dataset"]),
        pictures={name: [p for p in inputs.pictures if p.section == name] for name in sections},
        summary=summarise_experiment(inputs),
        tiles=choose_tiles(inputs.metrics),
        paired=tables.paired_rows(inputs.metrics["paired"]),
        paired_columns=["VAE", "Control", "DiffuseVAE", "Minus VAE", "Minus control"],
        whole_sets={
            model: {name: tables.format_value(name, value) for name, value in row.items()}
            for model, row in inputs.metrics["set"].items()
        },
        generated=tables.generated_rows(inputs.metrics["generated"], inputs.metrics["floor"]),
        gains=tables.list_gains(inputs.metrics),
        classes=list_classes(inputs.metrics),
        class_rows=class_rows(inputs.metrics),
        generated_columns=[METRICS[name] for name in tables.DISTRIBUTION],
        study=tables.study_rows(source, inputs.metrics) if source in PRINTED else [],
        scale=scale,
        comparable=scale.reaches(STUDY_SCALE),
        caveats=tables.study_caveats(),
        citation=CITATION,
        models=[describe_model(name, model) for name, model in inputs.models.items()],
        chosen=list_tuned(source, inputs.params, inputs.best, inputs.num_trials),
        params=tables.flatten_params(inputs.params),
        glossary=tables.glossary_rows(),
        timings_start=Markup(TIMINGS_START),
        timings_end=Markup(TIMINGS_END),
    )


def summarise_experiment(inputs: ReportInputs) -> list[str]:
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
        f"ones is {value('frechet', generated['vae_gmm'])} for the VAE and "
        f"{value('frechet', generated['diffusevae_gmm'])} for DiffuseVAE from the same codes, "
        f"where real images themselves score {value('frechet', inputs.metrics['floor'])}.",
    ]


def choose_tiles(metrics: Mapping) -> list[dict]:
    """Return the headline numbers: a metric, its direction, and who scored what."""
    paired, generated = metrics["paired"], metrics["generated"]
    seen = "lpips" if paired["vae"]["lpips"] else "hist_sim"
    sources = [
        (name, paired["vae"], paired["diffusevae"], "test images restored")
        for name in ("mse", "ssim", seen)
    ]
    sources.append(
        ("frechet", generated["vae_gmm"], generated["diffusevae_gmm"], "images generated")
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
