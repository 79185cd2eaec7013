"""DiffuseVAE early in its training against the VAE at the end of its own.

The main source (chapter 7, figure 7.5) says that after 5 epochs DiffuseVAE is better already than
the VAE after 50. "Better" is a matter of what is measured, so each measure gets its own verdict.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import seed_of
from diffusevae.core.tensor_file import sha256_of
from diffusevae.metrics.bootstrap import interval
from diffusevae.metrics.frechet_intervals import frechet_difference, frechet_interval
from diffusevae.metrics.metric import METRICS
from diffusevae.metrics.paired import mse, ssim
from diffusevae.metrics.set_comparison import extract_features
from diffusevae.models.classifier import Classifier
from diffusevae.models.diffusion import load_diffusion
from diffusevae.sampling.generation import Pair, generate, refine
from diffusevae.sampling.sampler_config import SamplerConfig

VAE, DIFFUSEVAE = "VAE", "DiffuseVAE"
MEASURES = {  # those of pairs and of sets, with the metric that each is
    "ssim": "ssim",
    "mse": "mse",
    "frechet_refined": "frechet",
    "frechet_generated": "frechet",
}


@dataclass(frozen=True, eq=False)
class MadeImages:
    """What a model makes of test images, and of new codes: N x C x H x W in [0, 1] each."""

    refined: Tensor
    generated: Tensor


def find_early(train_diffusevae: Path) -> dict[str, Path]:
    """Return by name the weights of the first epoch that was kept, and those of the finished model.

    Only the first where both are the same. Raises InputError where the training kept no epoch.
    """
    kept = sorted((train_diffusevae / "snapshots").glob("epoch_*.safetensors"))
    if not kept:
        raise InputError(
            f"{train_diffusevae}/snapshots: no epoch was kept, so there is no early DiffuseVAE; "
            "name one in train_diffusevae.snapshot_epochs"
        )
    first, finished = kept[0], train_diffusevae / "model.safetensors"
    found = {f"{DIFFUSEVAE}, epoch {int(first.stem.removeprefix('epoch_'))}": first}
    if sha256_of(first) != sha256_of(finished):
        found[f"{DIFFUSEVAE}, finished"] = finished
    return found


def make_all(
    pair: Pair, weights: Mapping[str, Path], sampler: SamplerConfig, images: Tensor, seed: int
) -> dict[str, MadeImages]:
    """Return what the VAE and DiffuseVAE with each of the weights make, from equal codes and noise.

    images: uint8 N x C x H x W; as many new codes are drawn from the mixture.
    """
    made: dict[str, MadeImages] = {}
    for name, path in weights.items():
        early = replace(pair, diffusevae=load_diffusion(path, pair.device))
        x_hat, refined = refine(early, sampler, images, seed)
        decoded, generated = generate(early, sampler, "gmm", len(images), seed)
        made.setdefault(VAE, MadeImages(x_hat, decoded))
        made[name] = MadeImages(refined, generated)
    return made


def judge(change: Mapping[str, float], better: str) -> str:
    """Return what an interval of a change (value, low, high) proves: better, worse or not proven.

    better is "higher" or "lower": the direction in which the measure is good.
    """
    signed = (change["low"], change["high"])
    if better == "lower":
        signed = (-change["high"], -change["low"])
    return "better" if signed[0] > 0 else "worse" if signed[1] < 0 else "not proven"


def compare_early(
    made: Mapping[str, MadeImages],
    real: Tensor,
    classifier: Classifier,
    seed: int,
    num_resamples: int,
    say: Callable[[str], None],
) -> pd.DataFrame:
    """Return a row for each model and measure: its value, and its change from the VAE's.

    Both with 95 % intervals, the change over the same images (or codes and noise) for both sides;
    that of a Fréchet distance is extrapolated to infinitely many images. real: N x C x H x W.
    """
    device = next(classifier.parameters()).device
    reference = extract_features(classifier, real, device)
    values = {name: _measure(each, real, classifier, device) for name, each in made.items()}
    rows: list[dict[str, object]] = []
    for name, found in values.items():
        for measure, metric in MEASURES.items():
            entry, change = _describe(
                metric, reference, found[measure], values[VAE][measure], seed, num_resamples
            )
            row: dict[str, object] = {"model": name, "measure": measure, "num_images": len(real)}
            row |= entry
            if name != VAE:
                row |= {
                    "change": change["value"],
                    "change_low": change["low"],
                    "change_high": change["high"],
                    "verdict": judge(change, METRICS[metric].better),
                }
                say(f"{name}, {measure}, against the VAE: {row['verdict']}")
            rows.append(row)
    return pd.DataFrame(rows)


def _measure(
    made: MadeImages, real: Tensor, classifier: Classifier, device: torch.device
) -> dict[str, np.ndarray]:
    """Return values per image of a paired measure, features of a set's."""
    return {
        "ssim": ssim(real, made.refined).double().numpy(),
        "mse": mse(real, made.refined).double().numpy(),
        "frechet_refined": extract_features(classifier, made.refined, device),
        "frechet_generated": extract_features(classifier, made.generated, device),
    }


def _describe(
    metric: str,
    reference: np.ndarray,
    now: np.ndarray,
    before: np.ndarray,
    seed: int,
    num_resamples: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """Return a measure with its interval, and its change from before with its own."""
    if metric == "frechet":
        return frechet_interval(reference, now), frechet_difference(reference, now, before)
    key = seed_of(seed, "theory", "early")
    return interval(now, key, num_resamples), interval(now - before, key, num_resamples)
