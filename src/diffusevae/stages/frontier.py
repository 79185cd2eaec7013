"""Find the fewest steps that cost no quality. Not part of the flow: run it when wanted.

The choice is made on validation images: on the test images the chosen model is measured.

python -m diffusevae.stages frontier smoke \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --train_vae artifacts/smoke/train_vae --train_ddpm artifacts/smoke/train_ddpm \\
    --train_diffusevae artifacts/smoke/train_diffusevae \\
    --classifier data/train_classifier/mnist_tiny/model.safetensors --out artifacts/smoke/frontier
"""

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from diffusevae.core.device import choose_device
from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import load_split, to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.metrics.intervals import SMALLEST
from diffusevae.metrics.set_comparison import extract_features
from diffusevae.models.classifier import load_classifier
from diffusevae.models.vae import reconstruct_all
from diffusevae.sampling.generation import decode_new_codes, load_models
from diffusevae.sampling.samplers import SamplerConfig
from diffusevae.studies.budget import split_distance
from diffusevae.studies.budget_figures import draw_budget
from diffusevae.studies.frontier import (
    QUANTITIES,
    FrontierConfig,
    Subject,
    choose_default,
    compare_points,
    converged,
    list_points,
    measure_point,
    read_point,
)
from diffusevae.studies.frontier_figures import draw_frontier

ROOT = "experiments"
SECTIONS = {"seed": int, "sampler": SamplerConfig, "frontier": FrontierConfig}


def run(
    params,
    *,
    validation: Path,
    train_vae: Path,
    train_ddpm: Path,
    train_diffusevae: Path,
    classifier: Path,
    out: Path,
    log,
) -> None:
    """Write frontier.csv and .png, default.json (the sampler chosen, null if none), budget.*."""
    device = choose_device()
    log.dataset(validation, "validation")
    config = params.frontier
    models = load_models(train_vae, train_ddpm, train_diffusevae, device)
    network = load_classifier(classifier, device)
    both = load_split(validation).images[: 2 * config.num_images].to(device)
    images, others = both[: config.num_images], both[config.num_images :]
    if min(len(images), len(others)) < SMALLEST:
        raise InputError(
            f"frontier: {len(both)} validation images; at least {SMALLEST} to refine "
            f"and as many others are needed: raise frontier.num_images (now "
            f"{config.num_images}) or the images of the split"
        )
    subject = Subject(
        to_unit(images).cpu(),
        reconstruct_all(models.vae, images),
        decode_new_codes(models, "gmm", len(images), params.seed),
        lambda made: extract_features(network, made, device),
        extract_features(network, others, device),
    )
    best = measure_point(models, converged(params.sampler, config), subject, params.seed)
    rows = []
    points: dict[tuple, np.ndarray] = {}  # the way, eta and steps of a sampler: features
    for sampler in list_points(params.sampler, config):
        start = time.monotonic()
        point = measure_point(models, sampler, subject, params.seed)
        key = {"sampler": sampler.sampler, "eta": sampler.eta, "num_steps": sampler.num_steps}
        name = f"{sampler.sampler}_eta{sampler.eta:g}_{sampler.num_steps}_seconds_per_image"
        log.timing(name, (time.monotonic() - start) / (3 * len(images)))
        points[tuple(key.values())] = point["diffusevae_frechet"]
        rows.append(
            key | compare_points(point, best, subject.reference, config.num_resamples, params.seed)
        )
        values = "  ".join(f"{name} {rows[-1][name]:.4g}" for name in QUANTITIES)
        log.message(f"{sampler.sampler} eta {sampler.eta:g} {sampler.num_steps} steps  {values}")
    table = pd.DataFrame(rows)
    end = compare_points(best, best, subject.reference, 1, params.seed)
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "frontier.csv", index=False)
    with figure_style():
        save_figure(draw_frontier(table, end), out / "frontier.png")
    chosen = choose_default(table)
    log.message(f"default: {chosen or 'none, as every point is worse than the converged sampler'}")
    files = {
        "vae": train_vae / "model.safetensors",
        "prior": train_vae / "prior.safetensors",
        "diffusevae": train_diffusevae / "model.safetensors",
        "classifier": classifier,
    }
    default = {
        "files": {name: sha256_of(path) for name, path in files.items()},
        "params": {
            "seed": params.seed,
            "sampler": asdict(params.sampler),
            "frontier": asdict(config),
        },
        "num_images": len(images),
        "converged": {name: end[name] for name in QUANTITIES},
        "sampler": chosen and asdict(params.sampler) | chosen,
        "measured": chosen and read_point(table, chosen),
    }
    (out / "default.json").write_text(json.dumps(default, indent=2, sort_keys=True) + "\n")
    features = {
        "x_hat": subject.features(subject.x_hat),
        "vae_gmm": subject.features(subject.decoded),
        "vae_prior": subject.features(decode_new_codes(models, "prior", len(images), params.seed)),
        "diffusevae_converged": best["diffusevae_frechet"],
        "diffusevae": points.get(tuple((chosen or {}).values()), best["diffusevae_frechet"]),
    }
    budget = split_distance(features, subject.reference)
    budget.to_csv(out / "budget.csv", index=False)
    with figure_style():
        save_figure(draw_budget(budget), out / "budget.png")
    log.artifact(out)
