"""What is measured of images, and what a pipeline measured, as tables of pandas."""

import dataclasses
from pathlib import Path

import pandas as pd
import torch

from diffusevae.api.defaults import CLASSIFIER, CLASSIFIER_OPTIMISER
from diffusevae.api.images import Array, describe_shape, draw_held_out, in_bytes, in_unit
from diffusevae.api.models import OnEpoch, require_epochs, tell
from diffusevae.core.device import choose_device
from diffusevae.core.errors import InputError
from diffusevae.core.randomness import seed_of
from diffusevae.metrics.bootstrap import interval
from diffusevae.metrics.measured import read_metrics
from diffusevae.metrics.paired import WINDOW, measure_pairs
from diffusevae.metrics.perceptual import load_lpips, lpips
from diffusevae.metrics.set_comparison import compare_sets
from diffusevae.models.classifier import Classifier, ClassifierConfig
from diffusevae.training.classifier_training import fit_classifier
from diffusevae.training.loop import OptimiserConfig

NUM_RESAMPLES = 1000  # of the intervals of means


def evaluate_pairs(
    real: Array, made: Array, *, lpips_folder: Path | str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return the means of the paired metrics over N images, with their 95 % intervals.

    Rows: mse, psnr, ssim, mae, edge_sim, hist_sim, of which the last two are distances, and lpips
    where `lpips_folder` is given (data/raw/alexnet of a checkout, got by `diffusevae download
    alexnet`). Columns: value, low, high. real and made: N x C x H x W, uint8 or in [0, 1], H and W
    at least 11 (LPIPS: 32). Raises InputError.

    >>> import torch
    >>> x = torch.rand(4, 1, 16, 16)
    >>> evaluate_pairs(x, x).loc[["mse", "ssim"], "value"].tolist()
    [0.0, 1.0]
    """
    x, y = in_unit(real, "real"), in_unit(made, "made")
    if x.shape != y.shape:
        raise InputError(
            f"made {describe_shape(y)}: the real images are {describe_shape(x)}; "
            "give as many, alike"
        )
    if min(x.shape[2:]) < WINDOW:
        raise InputError(f"real {describe_shape(x)}: SSIM needs {WINDOW} x {WINDOW} pixels or more")
    values = measure_pairs(x, y)
    if lpips_folder is not None:
        device = choose_device()
        network = load_lpips(Path(lpips_folder)).to(device)
        try:
            values["lpips"] = lpips(x.to(device), y.to(device), network).cpu()
        except ValueError as error:
            raise InputError(f"real {describe_shape(x)}: {error}") from error
    seed = seed_of(seed, "evaluate", "pairs")  # as the stage evaluate
    rows = {name: interval(each.numpy(), seed, NUM_RESAMPLES) for name, each in values.items()}
    return _tabulate(rows)


def evaluate_sets(
    real: Array, made: Array, classifier: Classifier, *, neighbours: int = 3
) -> pd.DataFrame:
    """Return how far a set of images is from real ones, each number with its 95 % interval.

    They are those of the classifier's features (`train_classifier`, or `load_classifier` of a
    pipeline's): numbers of other features, FID's among them, do not compare, nor those of other
    numbers of images. real and made: N and M x C x H x W, uint8 or in [0, 1], of which there must
    be some times `neighbours`. Rows: frechet, frechet_inf (of infinitely many images; only where
    there are more images than features), kid, precision, recall, density, coverage (the latter
    two of Naeem et al., 2020). Raises InputError.
    """
    sets = {"made": in_unit(made, "made")}
    reference, device = in_unit(real, "real"), choose_device()
    for name, images in {"real": reference, **sets}.items():
        if tuple(images.shape[1:]) != classifier.image_shape:
            raise InputError(
                f"{name} {describe_shape(images)}: the classifier knows images of "
                f"{' x '.join(map(str, classifier.image_shape))}; give it such"
            )
    found = compare_sets(reference, sets, classifier.to(device), neighbours, device)
    return _tabulate({name: entry for name, entry in found["made"].items() if entry is not None})


def train_classifier(
    images: Array,
    labels: Array,
    epochs: int,
    *,
    config: ClassifierConfig = CLASSIFIER,
    optimiser: OptimiserConfig = CLASSIFIER_OPTIMISER,
    seed: int = 0,
    on_epoch: OnEpoch = lambda row: None,
) -> Classifier:
    """Return a classifier of the images, in whose features `evaluate_sets` measures.

    images as in `train_vae`, H and W to be halved three times; labels: N whole numbers from 0 on.
    A tenth of both is held out, by which epochs are ranked. Raises InputError.
    """
    pixels, known = in_bytes(images, "images"), torch.as_tensor(labels)
    whole = not (known.is_floating_point() or known.is_complex() or known.dtype == torch.bool)
    if not whole or known.shape != pixels.shape[:1] or int(known.min()) < 0:
        raise InputError(
            f"labels {known.dtype} {describe_shape(known)}: expected {len(pixels)} whole numbers "
            "from 0 on"
        )
    device = choose_device()
    train, held_out = (
        (pixels[part].to(device), known[part].long().to(device))
        for part in draw_held_out(len(pixels), seed)
    )
    config = dataclasses.replace(config, epochs=require_epochs(epochs))
    model, _ = fit_classifier(config, optimiser, train, held_out, seed, tell(on_epoch))
    return model


def load_results(metrics: Path | str) -> pd.DataFrame:
    """Return a metrics.json (artifacts/quickstart/evaluate/metrics.json) as one long table.

    Columns: kind (paired, generated), model, metric, value, low, high, n (images). The difference
    is DiffuseVAE minus VAE, image by image, the control DiffuseVAE minus stretched, the VAE with
    its grey values stretched; the floor is real images against others. LPIPS has no rows where its
    network was not there. `to_csv`, `to_latex` and `pivot` are pandas' own. Raises
    InputError.
    """
    found = read_metrics(Path(metrics))
    tables = {
        "paired": (found["paired"], found["num_images"]),
        "generated": (found["generated"] | {"floor": found["floor"]}, found["num_generated"]),
    }
    rows = [
        {"kind": kind, "model": model, "metric": metric, **entry, "n": count}
        for kind, (models, count) in tables.items()
        for model, measured in models.items()
        for metric, entry in measured.items()
        if entry is not None
    ]
    return pd.DataFrame(rows, columns=["kind", "model", "metric", "value", "low", "high", "n"])


def _tabulate(rows: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Return a row for each metric."""
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])
