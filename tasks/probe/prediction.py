"""What an experiment will take, told by its own stages at work on a few of its images.

Every stage runs on some images, then on four times as many, and so on until they are most of what
a run takes; each time in a folder of its own, and without the seconds of its imports, which are
added. The time it needs for all images is on the line through the first and the last of these
points; where the first had all images, through it and nothing. Downloading and preparing the data
is done whole.
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
from tasks.probe.networks import cost_of_drawn_networks, memory_of_code
from tasks.probe.scale import SPLITS, choose_scales, load_of, scale_down
from tasks.probe.trial_checkout import link_images, make_checkout, run_target
from tasks.probe.warm_process import WarmProcess

ENOUGH = 1.5  # times as long as at the first scale work takes that is told from noise
Points = dict[str, list[tuple[Load, Cost]]]  # by target: what was tried, and what that took
WHOLE = ("download", "prepare")  # stages that are run once, on all there is


def predict(
    experiment: Experiment, stages: WarmProcess, say: Callable[[str], None]
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
        whole = make_checkout(folder / "whole", experiment, dataset, sections)
        link_images(whole, experiment)
        costs = {}
        for target in filter(lambda target: target.startswith(WHOLE), experiment.targets):
            say(f"{target}, on all there is")
            costs[target] = run_target(stages, whole, experiment, target)
        shapes = read_shapes(whole, experiment)
        points: Points = {target: [] for target in experiment.targets if target not in costs}
        for scale in choose_scales(sections, _sizes(shapes)):
            few = scale_down(dataset, sections, _sizes(shapes), scale)
            checkout = make_checkout(folder / str(scale), experiment, *few)
            (checkout / RAW).symlink_to(whole / RAW)
            held = _try_all(stages, checkout, experiment, few, points, say)
            if held == _sizes(shapes) or _is_enough(points):
                break
    shape = tuple(shapes["train"][1:])
    for target in points:
        load = load_of(target, dataset, sections, _sizes(shapes))
        costs[target] = _extrapolate(experiment, target, points[target], load, shape)
    started = stages.start_seconds or 0.0
    told = {each: replace(cost, seconds=cost.seconds + started) for each, cost in costs.items()}
    return told, shape


def _try_all(
    stages: WarmProcess,
    checkout: Path,
    experiment: Experiment,
    few: tuple[dict, dict],
    points: Points,
    say: Callable[[str], None],
) -> dict[str, int]:
    """Add what each target takes of a few images; return how many there are of each split."""
    run_target(stages, checkout, experiment, f"prepare@{experiment.dataset}")
    held = _sizes(read_shapes(checkout, experiment))
    for target, found in points.items():
        say(f"{target}, on {held['train']} training images")
        cost = run_target(stages, checkout, experiment, target)
        found.append((load_of(target, *few, held), cost))
    return held


def _is_enough(points: Points) -> bool:
    """Return whether the last images were most of the work."""
    first, last = (sum(found[i][1].seconds for found in points.values()) for i in (0, -1))
    return last > ENOUGH * first


def _extrapolate(
    experiment: Experiment,
    target: str,
    points: Sequence[tuple[Load, Cost]],
    load: Load,
    shape: tuple[int, ...],
) -> Cost:
    """Return what a target will take for that load, images being C x H x W."""
    image_bytes = 5 * math.prod(shape)  # as it is read, and in float32
    if target.startswith("train_vae"):
        image_bytes += memory_of_code(experiment, shape)
    first = points[0] if len(points) > 1 else (Load(0, 0), Cost(0, 0, 0))
    cost = extrapolate(first, points[-1], load, image_bytes)
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
