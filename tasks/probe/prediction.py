"""What an experiment will take, told by its own stages at work on a few of its images.

Every stage runs on some images, then on four times as many, and so on until they, not the start of
a process, are most of what a run takes; each time in a folder of its own. The time it needs for all
images is on the line through the first and the last of these points. Downloading and preparing the
data is done whole.
"""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from safetensors import safe_open

from diffusevae.core.yaml_file import read_yaml
from diffusevae.experiments.experiment import RAW, Experiment
from diffusevae.experiments.params_file import PARAMS_FILE
from tasks.probe.cost import Cost, Load, extrapolate
from tasks.probe.networks import cost_of_drawn_networks
from tasks.probe.scale import SPLITS, load_of, scale_down
from tasks.probe.trial_checkout import link_images, make_checkout, make_store, run_target

SCALES = (1, 4, 16, 64)  # how many times the few images
ENOUGH = 1.5  # times as long as at the first scale a run takes that tells the work from noise
WHOLE = ("download", "prepare")  # stages that are run once, on all there is


def predict(
    experiment: Experiment, say: Callable[[str], None]
) -> tuple[dict[str, Cost], tuple[int, ...]]:
    """Return what each target will take, and its images' C x H x W; `say` hears what is being run.

    A search is taken to prune no trial. Raises InputError, EnvironmentFailure or StageFailure where
    a stage fails.
    """
    params = read_yaml(PARAMS_FILE)
    dataset, sections = (
        params[root][name]
        for root, name in (("datasets", experiment.dataset), ("experiments", experiment.name))
    )
    with tempfile.TemporaryDirectory(prefix="diffusevae-plan-") as name:
        folder = Path(name)
        make_store(folder)
        whole = make_checkout(folder / "whole", experiment, dataset, sections)
        link_images(whole, experiment)
        costs = {
            target: run_target(whole, experiment, target, say)
            for target in experiment.targets
            if target.startswith(WHOLE)
        }
        shapes = read_shapes(whole, experiment)
        rest = [target for target in experiment.targets if target not in costs]
        points: dict[str, list[tuple[Load, Cost]]] = {target: [] for target in rest}
        totals: list[float] = []
        for scale in SCALES:
            few = scale_down(dataset, sections, _sizes(shapes), scale)
            checkout = make_checkout(folder / str(scale), experiment, *few)
            (checkout / RAW).symlink_to(whole / RAW)
            run_target(checkout, experiment, f"prepare@{experiment.dataset}")
            held = _sizes(read_shapes(checkout, experiment))
            for target in rest:
                load = load_of(target, *few, held)
                points[target].append((load, run_target(checkout, experiment, target, say, scale)))
            totals.append(sum(tried[-1][1].seconds for tried in points.values()))
            if len(totals) > 1 and (totals[-1] > ENOUGH * totals[0] or held == _sizes(shapes)):
                break
    shape = tuple(shapes["train"][1:])
    for target in rest:
        load = load_of(target, dataset, sections, _sizes(shapes))
        costs[target] = _extrapolate(experiment, target, points[target], load, shape)
    return costs, shape


def _extrapolate(
    experiment: Experiment,
    target: str,
    points: Sequence[tuple[Load, Cost]],
    load: Load,
    shape: tuple[int, ...],
) -> Cost:
    """Return what a target will take for that load, images being C x H x W."""
    image_bytes = 5 * math.prod(shape)  # as it is read, and in float32
    cost = extrapolate(points[0], points[-1], load, image_bytes)
    if target.startswith("tune") and load.work:
        ratio = cost_of_drawn_networks(experiment, target, shape)
        return replace(cost, seconds=cost.seconds * ratio)
    return cost


def read_shapes(checkout: Path, experiment: Experiment) -> dict[str, list[int]]:
    """Return N x C x H x W of each split of the prepared data set."""
    shapes = {}
    for split in SPLITS:
        path = checkout / experiment.data("prepared", f"{split}.safetensors")
        with safe_open(path, "pt") as file:
            shapes[split] = file.get_slice("images").get_shape()
    return shapes


def _sizes(shapes: Mapping[str, list[int]]) -> dict[str, int]:
    return {split: shape[0] for split, shape in shapes.items()}
