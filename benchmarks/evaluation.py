"""Evaluation: the metrics beside public implementations of the same ones, and the whole of it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Ratios, Side, divide, show_sides, take_turns, time_call
from benchmarks.networks import say_absent
from benchmarks.setting import IMAGE_SHAPE, Setting
from diffusevae.core.tensor_file import load_tensors
from diffusevae.core.torchvision_import import ensure_torchvision
from diffusevae.data.dataset import load_split
from diffusevae.experiments.experiment import Experiment, load_experiment
from diffusevae.metrics.distribution import frechet_distance
from diffusevae.metrics.evaluation import evaluate
from diffusevae.metrics.paired import mae, mse, psnr, ssim
from diffusevae.models.classifier import load_classifier

NUM_PAIRS = 1000
NUM_FEATURES = 128  # of the data set's classifier
LEAST_EIGENVALUE = 0.1
Call = Callable[[], object]


def measure(setting: Setting) -> Ratios:
    """Print the seconds of metrics, ours and public ones; return how many times faster ours are."""
    x, y = torch.rand(2, NUM_PAIRS, *IMAGE_SHAPE)
    f, g = make_features(0), make_features(1)
    pairs: dict[str, Call] = {"product": lambda: measure_ours(x, y)}
    distances: dict[str, Call] = {"product": lambda: frechet_distance(f, g)}
    if measure_theirs := find_torchmetrics():
        pairs["torchmetrics"] = lambda: measure_theirs(x, y)
    if their_distance := find_pytorch_fid():
        distances["pytorch-fid"] = lambda: their_distance(f, g)
    ratios = compare(setting, "paired_metrics", "pair", pairs, NUM_PAIRS)
    ratios |= compare(setting, "frechet", "distance", distances, 1)
    time_whole(setting, load_experiment(setting.experiment))
    return ratios


def compare(setting: Setting, name: str, item: str, calls: dict[str, Call], count: int) -> Ratios:
    """Print the calls' seconds for each of `count` items; return the product's ratio to the others.

    All of them run on the CPU.
    """
    sides = [
        Side(side, lambda call=call: time_call(call, torch.device("cpu")) / count)
        for side, call in calls.items()
    ]
    turns = take_turns(sides, setting.repeats)
    show_sides(f"{name}, {NUM_PAIRS} images", item, sides, turns)
    return {
        f"{name}_vs_{side}": divide(turns[side], turns["product"])
        for side in calls
        if side != "product"
    }


def measure_ours(x: Tensor, y: Tensor) -> list[Tensor]:
    """Return four of the product's metrics, each one value per pair."""
    return [function(x, y) for function in (mse, psnr, ssim, mae)]


def find_torchmetrics() -> Callable[[Tensor, Tensor], list[Tensor]] | None:
    """Return the same four metrics by torchmetrics; None where it is not installed."""
    ensure_torchvision()
    try:
        from torchmetrics.functional import image as metrics
    except ImportError as error:
        say_absent("torchmetrics", error)
        return None

    def measure_theirs(x: Tensor, y: Tensor) -> list[Tensor]:
        return [
            (x - y).square().mean(dim=(1, 2, 3)),  # torchmetrics has none for each image
            metrics.peak_signal_noise_ratio(x, y, data_range=1.0, dim=(1, 2, 3), reduction="none"),
            metrics.structural_similarity_index_measure(x, y, data_range=1.0, reduction="none"),
            (x - y).abs().mean(dim=(1, 2, 3)),
        ]

    return measure_theirs


def find_pytorch_fid() -> Callable[[np.ndarray, np.ndarray], float] | None:
    """Return the Fréchet distance of two feature sets by pytorch-fid; None without it."""
    ensure_torchvision()
    try:
        from pytorch_fid.fid_score import calculate_frechet_distance
    except ImportError as error:
        say_absent("pytorch-fid", error)
        return None
    return lambda f, g: calculate_frechet_distance(
        f.mean(0), np.cov(f, rowvar=False), g.mean(0), np.cov(g, rowvar=False)
    )


def make_features(seed: int) -> np.ndarray:
    """Return features whose covariance has eigenvalues from 1 down to 0.1, NUM_PAIRS x D."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(NUM_PAIRS, NUM_FEATURES)) * np.sqrt(
        np.linspace(1, LEAST_EIGENVALUE, NUM_FEATURES)
    )


def time_whole(setting: Setting, experiment: Experiment) -> None:
    """Print the seconds of `evaluate` on the experiment's results, LPIPS left out."""
    files = [
        experiment.output("sample", "pairs.safetensors"),
        experiment.output("sample", "generated.safetensors"),
        experiment.data("prepared", "train.safetensors"),
        experiment.data("prepared", "test.safetensors"),
        experiment.data("train_classifier", "model.safetensors"),
    ]
    if not all(path.exists() for path in files):
        print(f"\nevaluate as a whole: left out, {setting.experiment} has not been run")
        return
    pairs, generated, train, test, classifier = files
    arguments = (
        load_tensors(pairs),
        load_tensors(generated),
        load_split(train),
        load_split(test),
        load_classifier(classifier, setting.device),
    )

    def run() -> float:
        return time_call(
            lambda: evaluate(
                *arguments,
                None,
                "a benchmark",
                setting.params.evaluate,
                setting.params.seed,
                setting.device,
            ),
            setting.device,
        )

    side = Side("product", run)
    few = replace(setting, repeats=max(1, setting.repeats // 2))
    show_sides(
        f"evaluate {setting.experiment}, without LPIPS",
        "evaluation",
        [side],
        take_turns([side], few.repeats, warm_up=0),
    )
