"""Everything measured of one experiment: its reconstructions, its generated images, the floor.

Pure: tensors and models in, a dictionary (metrics.json) and a table (per_image.csv) out.
"""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from diffusevae.core.errors import InputError
from diffusevae.core.params import PositiveCount
from diffusevae.core.randomness import seed_of
from diffusevae.data.dataset import Split
from diffusevae.metrics.bootstrap import interval
from diffusevae.metrics.class_balance import compare_classes
from diffusevae.metrics.contracts import (
    WHOLE_SETS,
    find_blind_metrics,
    find_breaches,
    find_breaches_of_means,
    measure_corruptions,
    require,
)
from diffusevae.metrics.copies import find_copies
from diffusevae.metrics.grey_stretch import fit_stretch
from diffusevae.metrics.labels import RESTORERS
from diffusevae.metrics.metric import PAIRED
from diffusevae.metrics.paired import (
    WINDOW,
    hist_sim,
    hist_sim_of_set,
    measure_pairs,
    mse,
    psnr_of_mse,
)
from diffusevae.metrics.perceptual import BACKBONE, lpips
from diffusevae.metrics.set_comparison import (
    compare_corruptions,
    compare_generators,
    describe_classifier,
    extract_features,
    extract_sets,
    list_batches,
    measure_sets,
)
from diffusevae.metrics.verdicts import DIFFERENCES
from diffusevae.models.classifier import Classifier


@dataclass(frozen=True)
class EvaluateConfig:
    """Resamples of each bootstrap (of means over images); k of whatever counts neighbours."""

    num_resamples: PositiveCount
    neighbours: PositiveCount


def evaluate(
    pairs: dict[str, Tensor],
    validation: dict[str, Tensor],
    generated: dict[str, Tensor],
    train: Split,
    test: Split,
    classifier: Classifier,
    lpips_model: nn.Module | None,
    lpips_reason: str,
    config: EvaluateConfig,
    seed: int,
    device: torch.device,
) -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    """Return the content of metrics.json, of per_image.csv and of corruptions.csv.

    pairs: real, vae, diffusevae (N x C x H x W in [0, 1]) and labels (N); validation: real and vae
    of other images, by which the control is chosen. generated: sets of M x C x H x W in [0, 1] by
    name. `lpips_reason` says why there is no `lpips_model`; LPIPS is then None throughout. Raises
    InputError for images too few or too small, and for a metric that breaks its contract.
    Generated images are held against as many test images (all, if there are fewer), drawn once:
    distances depend on the numbers compared. The floor: as many training images instead.
    """
    stretch = fit_stretch(validation["real"], validation["vae"])
    pairs = pairs | {"stretched": stretch.apply(pairs["vae"])}
    num_generated = len(generated["ddpm"])
    reference = _draw(test.images, num_generated, seed, "test")
    sets = generated | {"stretched_gmm": stretch.apply(generated["vae_gmm"])}
    sets["floor"] = _draw(train.images, num_generated, seed, "train")
    frame = measure_models(pairs, lpips_model, device)
    corruptions = measure_corruptions(pairs["real"], lpips_model, device)
    answers = compare_corruptions(reference, classifier, device)
    paired = summarise_pairs(frame, config.num_resamples, seed)
    copies = find_copies(generated, train.shown, test.shown, seed, device)
    metrics = {
        "num_images": len(pairs["real"]),
        "num_generated": num_generated,
        "stretch": dataclasses.asdict(stretch),
        "paired": paired,
        "set": {name: _measure_set(pairs["real"], pairs[name]) for name in RESTORERS},
        **_measure_generated(reference, sets, classifier, config.neighbours, device),
        "classifier": describe_classifier(classifier, test, device),
        "lpips": _describe_lpips(lpips_model is not None, lpips_reason),
        "warnings": [*_list_doubts(paired, corruptions, answers), *copies],
    }
    return metrics, frame, pd.concat([corruptions, answers[1:]], ignore_index=True)


def _measure_generated(
    reference: Tensor,
    sets: dict[str, Tensor],
    classifier: Classifier,
    neighbours: int,
    device: torch.device,
) -> dict[str, object]:
    """Return the distances of all sets, those of the floor apart, gains, and classes."""
    known = extract_features(classifier, reference, device)
    features = extract_sets(classifier, sets, device)
    distances = measure_sets(known, features, neighbours, device)
    floor = distances.pop("floor")
    return {
        "generated": distances,
        "floor": floor,
        "gains": compare_generators(known, features),
        "classes": compare_classes(classifier, reference, sets, device),
        "intervals_of_sets": "mean over new draws of num_generated images",
    }


def _describe_lpips(available: bool, reason: str) -> dict[str, object]:
    return {"backbone": BACKBONE, "available": available, "reason": reason}


def _list_doubts(paired: dict, corruptions: pd.DataFrame, answers: pd.DataFrame) -> Iterator[str]:
    """Yield what makes numbers doubtful: metrics blind to damage, means that cannot be."""
    yield from find_blind_metrics(corruptions, PAIRED)
    yield from find_blind_metrics(answers, WHOLE_SETS)
    for model in RESTORERS:
        means = {name: entry["value"] for name, entry in paired[model].items() if entry}
        for breach in find_breaches_of_means(means, corruptions):
            yield f"{model}_{breach}"


def measure_models(
    pairs: dict[str, Tensor], lpips_model: nn.Module | None, device: torch.device
) -> pd.DataFrame:
    """Return one row per image and model: index (place in pairs), label, model, seven metrics.

    Without an LPIPS network that column is empty (NaN). Raises InputError if a value cannot
    be (`contracts.find_breaches`), so that no table holds it, and for images below 11 x 11.
    """
    real = pairs["real"]
    if not len(real) or min(real.shape[2:]) < WINDOW:
        raise InputError(
            f"evaluate pairs: images {' x '.join(map(str, real.shape))}; at least one "
            f"is needed, of {WINDOW} x {WINDOW} pixels or more (SSIM)"
        )
    tables = []
    for model in RESTORERS:
        values = measure_pairs(real, pairs[model])
        if lpips_model is not None:
            parts = zip(list_batches(real, device), list_batches(pairs[model], device), strict=True)
            values["lpips"] = torch.cat([lpips(x, y, lpips_model).cpu() for x, y in parts])
        require([f"{model}_{breach}" for breach in find_breaches(values)])
        table = pd.DataFrame(
            {"index": range(len(real)), "label": pairs["labels"].numpy(), "model": model}
        )
        for name in PAIRED:
            table[name] = values[name].double().numpy() if name in values else np.nan
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def summarise_pairs(frame: pd.DataFrame, num_resamples: int, seed: int) -> dict:
    """Return mean and 95 % interval per metric for each model and for two differences.

    difference is diffusevae minus vae, control is diffusevae minus stretched. All intervals
    resample the same images; differences are paired image by image.
    """
    columns = {model: frame[frame["model"] == model].set_index("index") for model in RESTORERS}
    refined = columns["diffusevae"][list(PAIRED)]
    for rival, name in DIFFERENCES.items():
        columns[name] = refined - columns[rival][list(PAIRED)]
    seed = seed_of(seed, "evaluate", "pairs")
    return {
        who: {
            name: None
            if table[name].isna().all()
            else interval(table[name].to_numpy(), seed, num_resamples)
            for name in PAIRED
        }
        for who, table in columns.items()
    }


def save_evaluation(
    out: Path, metrics: dict, frame: pd.DataFrame, corruptions: pd.DataFrame
) -> None:
    """Write what `evaluate` returned: metrics.json, per_image.csv and corruptions.csv."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(metrics, sort_keys=True, indent=2, allow_nan=False)
    (out / "metrics.json").write_text(text + "\n")
    frame.to_csv(out / "per_image.csv", index=False)
    corruptions.to_csv(out / "corruptions.csv", index=False)


def flatten(metrics: dict) -> dict[str, float]:
    """Return the main values by one name each, e.g. diffusevae_ssim, ddpm_frechet, floor_kid.

    diffusevae_minus_ddpm_frechet and its like are differences of generators.
    """
    tables = {**metrics["paired"], **metrics["generated"], "floor": metrics["floor"]}
    for rival, gain in metrics["gains"].items():
        tables[f"diffusevae_minus_{rival}"] = {"frechet": gain}
    return {
        f"{who}_{name}": entry["value"]
        for who, table in tables.items()
        for name, entry in table.items()
        if entry is not None
    }


def _measure_set(real: Tensor, x_hat: Tensor) -> dict[str, float]:
    """Return HistSim of the sets, PSNR of the mean MSE, and the mean HistSim in the study's way."""
    mean_mse = mse(real, x_hat).double().mean()
    values = {"hist_sim": hist_sim_of_set(real, x_hat), "psnr": float(psnr_of_mse(mean_mse))}
    require(find_breaches(values))
    unrounded = float(hist_sim(real, x_hat, rounded=False).double().mean())
    return values | {"hist_sim_unrounded": unrounded}


def _draw(images: Tensor, number: int, seed: int, purpose: str) -> Tensor:
    """Return `number` of the images without repeats (all of them if there are fewer)."""
    order = np.random.default_rng(seed_of(seed, "evaluate", purpose)).permutation(len(images))
    return images[torch.from_numpy(np.sort(order[:number]))]
