"""What an experiment will take, told by its own stages at work on a few of its images.

Every stage runs on some images, then on four times as many, and so on until they, not the start of
a process, are most of what a run takes; each time in a folder of its own. The time it needs for all
images is on the line through the first and the last of these points. Downloading and preparing the
data is done whole.
"""

import copy
import dataclasses
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import optuna
import torch
from ruamel.yaml import YAML
from safetensors import safe_open
from torch.utils.flop_counter import FlopCounterMode

import diffusevae
from diffusevae.core.params import load_sections, override
from diffusevae.core.parent import PARENT_VARIABLE
from diffusevae.core.yaml_file import read_yaml
from diffusevae.experiments.experiment import RAW, Experiment
from diffusevae.experiments.params_file import PARAMS_FILE
from diffusevae.models.diffusion import DiffusionConfig
from diffusevae.models.unet import UNet, UNetConfig
from diffusevae.models.vae import VAE, VAEConfig
from diffusevae.sources.pinned import ASSETS
from diffusevae.training.loop import OptimiserConfig
from diffusevae.tuning.search import SearchConfig
from diffusevae.tuning.search_space import suggest_values
from tasks.cost import Cost, Load, extrapolate
from tasks.dvc.process import explain_stage

SCALES = (1, 4, 16, 64)  # how many times the few images
ENOUGH = 1.5  # times as long as at the first scale a run takes that tells the work from noise
BATCHES = 8  # that a diffusion model is trained on at scale 1
SAMPLED = 100  # images that are sampled and evaluated at scale 1
FORWARD = 1 / 3  # of a training step's work: a backward pass is that of two forward passes
DRAWS = 16  # networks from a search space
SPLITS = ("train", "validation", "test")
TRAININGS = ("train_vae", "train_ddpm", "train_diffusevae")
WHOLE = ("download", "prepare")  # stages that are run once, on all there is
OWN_SERVICES = ("MLFLOW_TRACKING_URI", "DIFFUSEVAE_OPTUNA_STORAGE", "DVC_STAGE")


def predict(experiment: Experiment, say: Callable[[str], None]) -> dict[str, Cost]:
    """Return what each target of the experiment will take; `say` hears what is being run.

    A search is taken to prune no trial. On a GPU, memory is the host's. Raises InputError,
    EnvironmentFailure or StageFailure where a stage fails.
    """
    params = read_yaml(PARAMS_FILE)
    dataset, sections = (
        params[root][name]
        for root, name in (("datasets", experiment.dataset), ("experiments", experiment.name))
    )
    with tempfile.TemporaryDirectory(prefix="diffusevae-plan-") as name:
        folder = Path(name)
        _make_store(folder)
        whole = _make_checkout(folder / "whole", experiment, dataset, sections)
        _link_images(whole, experiment)
        costs = {
            target: _run(whole, experiment, target, say)
            for target in experiment.targets
            if target.startswith(WHOLE)
        }
        shapes = read_shapes(whole, experiment)
        rest = [target for target in experiment.targets if target not in costs]
        points: dict[str, list[tuple[Load, Cost]]] = {target: [] for target in rest}
        totals: list[float] = []
        for scale in SCALES:
            few = scale_down(dataset, sections, _sizes(shapes), scale)
            checkout = _make_checkout(folder / str(scale), experiment, *few)
            (checkout / RAW).symlink_to(whole / RAW)
            _run(checkout, experiment, f"prepare@{experiment.dataset}")
            held = _sizes(read_shapes(checkout, experiment))
            for target in rest:
                load = _load(target, *few, held)
                points[target].append((load, _run(checkout, experiment, target, say, scale)))
            totals.append(sum(tried[-1][1].seconds for tried in points.values()))
            if len(totals) > 1 and (totals[-1] > ENOUGH * totals[0] or held == _sizes(shapes)):
                break
    image_bytes = 5 * math.prod(shapes["train"][1:])  # as it is read, and in float32
    for target in rest:
        load = _load(target, dataset, sections, _sizes(shapes))
        cost = extrapolate(points[target][0], points[target][-1], load, image_bytes)
        if target.startswith("tune") and load.work:
            ratio = cost_of_drawn_networks(experiment, target, tuple(shapes["train"][1:]))
            cost = dataclasses.replace(cost, seconds=cost.seconds * ratio)
        costs[target] = cost
    return costs


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


def scale_down(
    dataset: dict, sections: dict, sizes: Mapping[str, int], scale: int
) -> tuple[dict, dict]:
    """Return both entries of params.yaml for one epoch, one trial and a few batches."""
    dataset, sections = copy.deepcopy(dataset), copy.deepcopy(sections)
    few = BATCHES * sections["diffusion_optimiser"]["batch_size"] * scale
    few, sampled = max(few, sections["prior"]["num_components"]), SAMPLED * scale
    train, validation, test = (
        min(sizes[split], count)
        for split, count in zip(SPLITS, (few, sampled, sampled), strict=True)
    )
    dataset["images"] |= {"train_images": train, "test_images": test}
    dataset["classifier"] |= {"epochs": 1}
    for stage in TRAININGS:
        kept = [1] if sections[stage]["snapshot_epochs"] else []
        sections[stage] |= {"epochs": 1, "snapshot_epochs": kept}
    for stage in ("tune_vae", "tune_ddpm"):
        sections[stage] |= {
            "n_trials": min(1, sections[stage]["n_trials"]),
            "epochs": 1,
            "num_images": min(train, sections[stage]["num_images"]),
        }
    sections["sample"] |= {name: min(test, count) for name, count in sections["sample"].items()}
    sections["sampler"] |= {"num_steps": min(2 * scale, sections["sampler"]["num_steps"])}
    return dataset, sections


def _load(target: str, dataset: Mapping, sections: Mapping, sizes: Mapping[str, int]) -> Load:
    stage = target.split("@")[0]
    train, held_out = sizes["train"], FORWARD * sizes["validation"]
    if stage == "train_classifier":
        return Load(dataset["classifier"]["epochs"] * (train + held_out), train)
    section = sections.get(stage, {})
    if stage in TRAININGS:
        work = section["epochs"] * (train + held_out)
        return Load(work, train, len(section["snapshot_epochs"]))
    if stage.startswith("tune"):
        trials = section["n_trials"] * section["epochs"]
        return Load(trials * (min(train, section["num_images"]) + held_out), train)
    images = sum(sections["sample"].values())
    steps = sections["sampler"]["num_steps"] if stage == "sample" else 1
    return Load(images * steps, images)


def cost_of_drawn_networks(experiment: Experiment, target: str, shape: tuple[int, ...]) -> float:
    """Return how many times the base network's FLOPs those of a search's networks are, mean."""
    stage = target.split("@")[0]
    schemas = {
        "vae": VAEConfig,
        "unet": UNetConfig,
        "diffusion": DiffusionConfig,
        "vae_optimiser": OptimiserConfig,
        "diffusion_optimiser": OptimiserConfig,
    }
    params = load_sections(
        PARAMS_FILE, "experiments", experiment.name, schemas | {stage: SearchConfig}
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [
        suggest_values(study.ask(), getattr(params, stage).space, vars(params))
        for _ in range(DRAWS)
    ]
    kind = "vae" if stage == "tune_vae" else "unet"
    base = getattr(params, kind)
    flops = [
        _count_flops(override(base, values.get(kind, {}), kind), shape) for values in [{}, *drawn]
    ]
    return sum(flops[1:]) / DRAWS / flops[0]


def _count_flops(config: VAEConfig | UNetConfig, shape: tuple[int, ...]) -> int:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        x = torch.zeros(1, *shape)
        if isinstance(config, VAEConfig):
            VAE(config, shape).reconstruct(x)
        else:
            UNet(config, shape, conditional=False)(x, torch.zeros(1, dtype=torch.long))
    return counter.get_total_flops()


def _make_store(folder: Path) -> None:
    """Make an empty MLflow store there, which takes seconds, for every checkout to start with."""
    code = "from diffusevae.tracking.mlflow_store import connect; connect()"
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=_variables(), check=True)


def _make_checkout(
    folder: Path, experiment: Experiment, dataset: Mapping, sections: Mapping
) -> Path:
    """Make a folder in which stages can run, with downloads kept where the checkout keeps them."""
    for made in (folder / "data", folder / "scratch", Path("scratch/downloads")):
        made.mkdir(parents=True, exist_ok=True)
    (folder / "scratch/downloads").symlink_to(Path("scratch/downloads").absolute())
    shutil.copytree(folder.parent / "mlflow", folder / "mlflow")
    with open(folder / "params.yaml", "w") as file:
        YAML().dump(
            {
                "datasets": {experiment.dataset: dict(dataset)},
                "experiments": {experiment.name: dict(sections)},
            },
            file,
        )
    return folder


def _link_images(checkout: Path, experiment: Experiment) -> None:
    """Let a checkout find a folder of the user's own images."""
    if experiment.source not in ASSETS:
        (checkout / RAW).mkdir()
        (checkout / RAW / experiment.source).symlink_to((RAW / experiment.source).absolute())


def _run(
    checkout: Path,
    experiment: Experiment,
    target: str,
    say: Callable[[str], None] = lambda text: None,
    scale: int = 0,
) -> Cost:
    """Run a target's command there and measure it."""
    say(f"{target}, on {'all there is' if scale == 0 else f'a few images x {scale}'}")
    command, out = read_command(experiment, target)
    before = _size(checkout)
    start = time.perf_counter()
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=checkout,
        env=_variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout is not None  # a pipe
    lines = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        say("\n".join(lines[-5:]))
        raise explain_stage(target, process.returncode, lines)
    # DVC's cache has each output once more.
    return Cost(
        seconds,
        1024 * usage.ru_maxrss,
        _size(checkout) - before + _size(checkout / out),
        2 * _size(checkout / out / "snapshots"),
    )


def read_command(experiment: Experiment, target: str) -> tuple[str, str]:
    """Return a target's command and the folder it writes, as dvc.yaml has them."""
    stage, key = target.split("@")
    command = read_yaml(Path("dvc.yaml"))["stages"][stage]["do"]["cmd"]
    item = key if stage == "download" else ""
    known = {
        "${key}": key,
        "${item}": item,
        "${item.dataset}": experiment.dataset,
        "${item.images.source}": experiment.source,
    }
    for name, value in known.items():
        command = command.replace(name, value)
    return command, command.split("--out ")[1].split()[0]


def _variables() -> dict[str, str]:
    """Return the environment of a stage that is only tried: no service of the user's is told."""
    kept = {name: value for name, value in os.environ.items() if name not in OWN_SERVICES}
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    code = str(Path(diffusevae.__file__).parents[1])
    return kept | {
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": code,
        PARENT_VARIABLE: str(os.getpid()),
    }


def _size(folder: Path) -> int:
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
