"""Every student trained and judged as the frontier judges samplers, and the files that they leave.

All points have the frontier's images, codes and noise, and are held against the first teacher, the
experiment's DiffuseVAE, by DDIM in the most of its compared steps: the measure.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from torch import Tensor

from diffusevae.core.stage_log import StageLog
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.metrics.bootstrap import interval
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.distillation.distillation import DistilConfig, fit_student, make_rounds
from diffusevae.studies.distillation.distillation_figures import draw_steps
from diffusevae.studies.frontier.frontier_figures import draw_frontier
from diffusevae.studies.frontier.frontier_study import (
    FrontierConfig,
    Subject,
    make_images,
    measure_images,
)
from diffusevae.studies.frontier.non_inferiority import Trial, compare_points, find_ratios
from diffusevae.training.diffusion_training import Images
from diffusevae.training.stage_trainings import OpenTraining

SECTIONS = {  # of an experiment: what distillation reads
    "seed": int,
    "sampler": SamplerConfig,
    "frontier": FrontierConfig,
    "distil": DistilConfig,
}
NUM_SHOWN = 10
STUDENT = "distilled"  # what stands in the column of samplers


@dataclass(frozen=True, eq=False)
class Student:
    """A distilled model of num_steps steps, and its training's rows of history."""

    num_steps: int
    model: DiffusionModel
    history: list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class Judged:
    """A row for every point, the row of the measure, the first new images by title."""

    table: pd.DataFrame
    end: Mapping[str, float | bool]
    shown: Mapping[str, Tensor]


def train_students(
    params: SimpleNamespace,
    teacher: DiffusionModel,
    train: Images,
    validation: Images,
    open_one: OpenTraining,
) -> list[Student]:
    """Return a student of each round, the one before being its teacher."""
    config = params.distil
    students = []
    for round_ in make_rounds(config, params.sampler):
        with open_one(f"{round_.few}_steps", {"num_steps": round_.few}) as training:
            teacher, history = fit_student(
                teacher, round_, config, train, validation, params.seed, training
            )
        students.append(Student(round_.few, teacher, history))
    return students


def judge_students(
    teacher: DiffusionModel,
    students: list[Student],
    subject: Subject,
    params: SimpleNamespace,
    log: StageLog,
) -> Judged:
    """Measure the first teacher in every number of steps, and each student in its own.

    departure: the mean squared difference of new images from the measure's, with its interval over
    images. frechet_net_ratio: `find_ratios`.
    """
    config, seed = params.frontier, params.seed
    points = list_judged(teacher, students, params)
    num_tried = len(points) - 1  # all but the measure
    trial = Trial(config.margins, num_tried, subject.reference, config.num_resamples, seed)
    rows: list[dict[str, object]] = []
    shown = {"VAE: pictures of the codes": subject.decoded[:NUM_SHOWN].cpu()}
    for name, model, sampler in points:
        start = time.monotonic()
        new, refined = make_images(model, sampler, subject, seed)
        seconds = (time.monotonic() - start) / (2 * len(new))
        log.timing(f"{name}_{sampler.num_steps}_seconds_per_image", seconds)
        point = measure_images(new, refined, subject)
        if not rows:  # the measure comes first
            wanted, best = new, point
        row: dict[str, object] = {
            "sampler": name,
            "eta": sampler.eta,
            "num_steps": sampler.num_steps,
        }
        row |= compare_points(point, best, trial)
        row |= measure_departure(new, wanted, seed, config.num_resamples)
        rows.append(row)
        shown[f"{name}, {sampler.num_steps}"] = new[:NUM_SHOWN]
        values = "  ".join(f"{key} {row[key]:.4g}" for key in (*best, "departure"))
        log.message(f"{name} {sampler.num_steps} steps  {values}")
    table, end = pd.DataFrame(rows), compare_points(best, best, trial)
    table["frechet_net_ratio"] = find_ratios(table, best, trial)
    return Judged(table, end, shown)


def measure_departure(
    new: Tensor, wanted: Tensor, seed: int, num_resamples: int
) -> dict[str, float]:
    """Return the mean squared difference of images N x C x H x W with its interval over images."""
    squared = (new - wanted).square().flatten(1).mean(1).double().numpy()
    found = interval(squared, seed, num_resamples)
    return {
        "departure": found["value"],
        "departure_low": found["low"],
        "departure_high": found["high"],
    }


def list_judged(
    teacher: DiffusionModel, students: list[Student], params: SimpleNamespace
) -> list[tuple[str, DiffusionModel, SamplerConfig]]:
    """Return name, model and sampler of every point, the measure first.

    In its many steps ddim_ahead would be the same but for one of them, and has no point.
    """
    base = dataclasses.replace(params.sampler, sampler="ddim", eta=0.0, spacing="trailing")
    most, *fewer = sorted(params.distil.compared_steps, reverse=True)
    compared = [("ddim", steps) for steps in (most, *fewer)]
    compared += [("ddim_ahead", steps) for steps in fewer]
    plain = dataclasses.replace(base, guidance=0.0)  # what guided the teacher is learned
    return [
        *(
            (name, teacher, dataclasses.replace(base, sampler=name, num_steps=steps))
            for name, steps in compared
        ),
        *(
            (STUDENT, each.model, dataclasses.replace(plain, num_steps=each.num_steps))
            for each in students
        ),
    ]


def save_distillation(
    out: Path,
    students: list[Student],
    judged: Judged,
    save: Callable[[Path, DiffusionModel], object],
) -> None:
    """Write students/N_steps.safetensors, history.csv, table.csv, table.png and images.png."""
    (out / "students").mkdir(parents=True, exist_ok=True)
    for each in students:
        save(out / "students" / f"{each.num_steps}_steps.safetensors", each.model)
    history = [{"num_steps": each.num_steps} | row for each in students for row in each.history]
    pd.DataFrame(history).to_csv(out / "history.csv", index=False)
    judged.table.to_csv(out / "table.csv", index=False)
    with figure_style():
        save_figure(draw_frontier(judged.table, judged.end), out / "table.png")
        save_figure(draw_steps(judged.shown), out / "images.png")
