"""Every point of the frontier measured, the choice that follows, and the files that it leaves."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import leave_out_defaults
from diffusevae.core.stage_log import StageLog
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.metrics.intervals import SMALLEST
from diffusevae.metrics.set_comparison import extract_features
from diffusevae.models.classifier import Classifier
from diffusevae.models.vae import reconstruct_all
from diffusevae.sampling.generation import Models, Pair, decode_new_codes, draw_labels
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.frontier.budget import split_distance
from diffusevae.studies.frontier.budget_figures import draw_budget
from diffusevae.studies.frontier.confirmation import Confirmation, describe, name_point
from diffusevae.studies.frontier.diversity import NUM_TWICE, compare_variances
from diffusevae.studies.frontier.frontier_figures import draw_frontier
from diffusevae.studies.frontier.frontier_study import (
    VARIANCE,
    Subject,
    converged,
    list_points,
    measure_point,
)
from diffusevae.studies.frontier.non_inferiority import (
    QUANTITIES,
    Trial,
    choose_point,
    compare_points,
    find_ratios,
)


@dataclass(frozen=True, eq=False)
class Frontier:
    """A row for every point, that of the converged sampler, and features of DiffuseVAE's images.

    `points` has these by the way, eta and steps of a sampler; `chosen` names the one that is to be
    confirmed, if any.
    """

    table: pd.DataFrame
    end: Mapping[str, float | bool]
    best: Mapping[str, np.ndarray]
    points: Mapping[tuple, np.ndarray]
    chosen: dict[str, object] | None


def make_subject(
    pair: Pair, classifier: Classifier, images: Tensor, num_images: int, seed: int
) -> Subject:
    """Return what every point has in common, of uint8 held-out images on the device to use.

    Raises InputError where there are too few for an interval.
    """
    device = images.device
    images, others = images[:num_images], images[num_images : 2 * num_images]
    if min(len(images), len(others)) < SMALLEST:
        raise InputError(
            f"frontier: {len(images) + len(others)} held-out images; at least {SMALLEST} to "
            f"refine and as many others are needed: raise frontier.num_images (now {num_images}) "
            "or the images of the split"
        )
    labels = draw_labels(pair, "gmm", len(images), seed)
    return Subject(
        to_unit(images).cpu(),
        reconstruct_all(pair.vae, images),
        decode_new_codes(pair, "gmm", len(images), seed, labels),
        labels,
        lambda made: extract_features(classifier, made, device),
        extract_features(classifier, others, device),
    )


def measure_frontier(
    models: Models, subject: Subject, params: SimpleNamespace, log: StageLog
) -> Frontier:
    """Measure every sampler and hold it against the converged one."""
    config, seed = params.frontier, params.seed
    samplers = list_points(params.sampler, config)
    trial = Trial(config.margins, len(samplers), subject.reference, config.num_resamples, seed)
    best = measure_point(models, converged(params.sampler, config), subject, seed)
    num_made = 3 * len(subject.real) + min(NUM_TWICE, len(subject.real))
    rows = []
    points: dict[tuple, np.ndarray] = {}
    for sampler in samplers:
        start = time.monotonic()
        point = measure_point(models, sampler, subject, seed)
        key = name_point(sampler)
        name = f"{sampler.sampler}_eta{sampler.eta:g}_{sampler.num_steps}_seconds_per_image"
        log.timing(name, (time.monotonic() - start) / num_made)
        points[tuple(key.values())] = point["diffusevae_frechet"]
        kept = compare_variances(point[VARIANCE], best[VARIANCE])
        compared = compare_points(point, best, trial) | {
            "diffusevae_diversity": kept["value"],
            "diffusevae_diversity_low": kept["low"],
            "diffusevae_diversity_high": kept["high"],
        }
        rows.append({**key, **compared})
        values = "  ".join(f"{name} {compared[name]:.4g}" for name in QUANTITIES)
        log.message(f"{sampler.sampler} eta {sampler.eta:g} {sampler.num_steps} steps  {values}")
    table = pd.DataFrame(rows)
    table["frechet_net_ratio"] = find_ratios(table, best, trial)
    return Frontier(table, compare_points(best, best, trial), best, points, choose_point(table))


def save_frontier(
    out: Path,
    found: Frontier,
    confirmation: Confirmation,
    params: SimpleNamespace,
    files: Mapping[str, Path],
) -> None:
    """Write frontier.csv and .png, and default.json with the hashes of the files it is true of."""
    out.mkdir(parents=True, exist_ok=True)
    found.table.to_csv(out / "frontier.csv", index=False)
    with figure_style():
        save_figure(draw_frontier(found.table, found.end), out / "frontier.png")
    default = {
        "files": {name: sha256_of(path) for name, path in files.items()},
        "params": {
            "seed": params.seed,
            "sampler": leave_out_defaults(params.sampler),
            "frontier": leave_out_defaults(params.frontier),
        },
        "converged": {name: found.end[name] for name in QUANTITIES},
        **describe(confirmation),
    }
    (out / "default.json").write_text(json.dumps(default, indent=2, sort_keys=True) + "\n")


def save_budget(
    out: Path, found: Frontier, default: SamplerConfig, models: Models, subject: Subject, seed: int
) -> None:
    """Write budget.csv and .png: where the distance of the default's images comes from."""
    end = found.best["diffusevae_frechet"]
    decoded = decode_new_codes(models, "prior", len(subject.real), seed)
    features = {
        "x_hat": subject.features(subject.x_hat),
        "vae_gmm": subject.features(subject.decoded),
        "vae_prior": subject.features(decoded),
        "diffusevae_converged": end,
        "diffusevae": found.points.get(tuple(name_point(default).values()), end),
    }
    budget = split_distance(features, subject.reference)
    budget.to_csv(out / "budget.csv", index=False)
    with figure_style():
        save_figure(draw_budget(budget), out / "budget.png")
