"""Sampling: seconds an image, each sampler with the fewest steps that are as good as 1,000.

As good means: a Fréchet distance from the test images not above the upper end of the 95 % interval
of our own run with the ancestral sampler and all timesteps. The peers' samplers are judged on the
product's trained network, so that the sampler alone decides; their speed is that of their own
network of the same size, in their own pipeline, at the steps found. Where the experiment has not
been run there is no trained network, and all are timed at the experiment's number of steps.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import (
    Ratios,
    Side,
    divide,
    fastest,
    show_sides,
    show_table,
    take_turns,
    time_call,
)
from benchmarks.networks import Network, count_cost, find_unets
from benchmarks.schedulers import (
    DiffusersView,
    LucidrainsView,
    make_gaussian_diffusion,
    make_scheduler,
)
from benchmarks.setting import Setting
from diffusevae.classifier import load_classifier
from diffusevae.data import load_split
from diffusevae.diffusion import DiffusionModel, load_diffusion
from diffusevae.distribution import frechet_interval
from diffusevae.evaluation import extract_features
from diffusevae.experiment import load_experiment
from diffusevae.randomness import seed_of
from diffusevae.sampling import SamplerConfig, sample

STEPS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50)
SEED = 0
NOISE = seed_of(SEED, "sample", 0)  # what `sample` seeds its first batch with: all start alike
# With trailing timesteps and a clipped x_0, as ours: both make few steps better.
DIFFUSERS = {
    "DDIM": ("DDIMScheduler", {"timestep_spacing": "trailing", "clip_sample": True}),
    "DPM-Solver++": ("DPMSolverMultistepScheduler",
                     {"timestep_spacing": "trailing", "thresholding": True}),
    "UniPC": ("UniPCMultistepScheduler", {"timestep_spacing": "trailing", "thresholding": True}),
}  # fmt: skip
OURS = ("ddim", "dpmpp_2m", "unipc")
Draw = Callable[[nn.Module, int, int], Tensor]  # network, steps, images: N x C x H x W in [0, 1]


@dataclass(frozen=True)
class Sampler:
    """A sampler: the package it is of, and how it draws."""

    package: str
    name: str
    draw: Draw


@dataclass(frozen=True)
class Judge:
    """What tells how good images are: the trained model, and the Fréchet distance of images."""

    model: DiffusionModel
    distance: Callable[[Tensor], dict[str, float]]


def measure(setting: Setting) -> Ratios:
    """Print how long an image takes by every package's best sampler; return the ratios."""
    networks = find_unets(setting)
    samplers = [s for s in list_samplers(setting) if s.package in networks]
    judge = find_judge(setting)
    if judge is None:
        steps = setting.params.sampler.num_steps
        print(f"sampling: {setting.experiment} has not been run, so nothing is as good as 1,000 "
              f"steps; every sampler is timed at {steps} steps")  # fmt: skip
        chosen = {s.package: (s, steps) for s in reversed(samplers)}
        return _compare(setting, networks, chosen)
    whole = draw_ours(dataclasses.replace(setting.params.sampler, sampler="ddpm"))
    num_timesteps = judge.model.schedule.num_timesteps
    drawn: list[Tensor] = []
    seconds = time_call(lambda: drawn.append(
        whole(judge.model, num_timesteps, setting.num_images)), setting.device)
    reference = judge.distance(drawn[0])
    print(f"\n{num_timesteps} steps: {seconds / setting.num_images:.4f} s an image (n = 1), "
          f"Fréchet distance {reference['value']:.3g} "
          f"[{reference['low']:.3g}, {reference['high']:.3g}]")  # fmt: skip
    chosen = choose_steps(setting, samplers, judge, reference["high"])
    return _compare(setting, networks, chosen, seconds / setting.num_images)


def find_judge(setting: Setting) -> Judge | None:
    """Return the judge made of the experiment's own results; None where it has not been run."""
    experiment = load_experiment(setting.experiment)
    model = experiment.output("train_ddpm", "model.safetensors")
    classifier = experiment.data("train_classifier", "model.safetensors")
    test = experiment.data("prepared", "test.safetensors")
    if not all(path.exists() for path in (model, classifier, test)):
        return None
    return make_judge(setting, model, classifier, test)


def make_judge(setting: Setting, model: Path, classifier: Path, test: Path) -> Judge:
    """Return the judge made of these files."""
    network, images = load_classifier(classifier, setting.device), load_split(test).images
    real = extract_features(network, images[: setting.num_images], setting.device)

    def distance(drawn: Tensor) -> dict[str, float]:
        features = extract_features(network, drawn, setting.device)
        if not np.isfinite(features).all():  # a solver that broke down
            return {"value": np.inf, "low": np.inf, "high": np.inf}
        return frechet_interval(real, features, SEED)

    return Judge(load_diffusion(model, setting.device), distance)


def choose_steps(
    setting: Setting, samplers: list[Sampler], judge: Judge, bound: float
) -> dict[str, tuple[Sampler, int]]:
    """Return each package's sampler that reaches the bound in the fewest steps, and how many."""
    rows = [("sampler", "steps", "Fréchet distance")]
    chosen: dict[str, tuple[Sampler, int]] = {}
    for sampler in samplers:
        tried = []
        for steps in STEPS:
            images = sampler.draw(_view(judge.model, sampler.package), steps, setting.num_images)
            tried.append(judge.distance(images)["value"])
            if tried[-1] <= bound:
                if sampler.package not in chosen or steps < chosen[sampler.package][1]:
                    chosen[sampler.package] = (sampler, steps)
                break
        reached = tried[-1] <= bound
        rows.append((f"{sampler.package} {sampler.name}", steps if reached else "not reached",
                     f"{min(tried):.3g}"))  # fmt: skip
    show_table(f"Fewest steps with a Fréchet distance of at most {bound:.3g}", rows)
    return chosen


def list_samplers(setting: Setting) -> list[Sampler]:
    """Return every sampler compared."""
    config = setting.params.sampler
    return [
        *(Sampler("product", name, draw_ours(dataclasses.replace(config, sampler=name, eta=0.0)))
          for name in OURS),
        *(Sampler("diffusers", name, _draw_by_diffusers(setting, *options))
          for name, options in DIFFUSERS.items()),
        Sampler("denoising-diffusion-pytorch", "DDIM", _draw_by_lucidrains(setting)),
    ]  # fmt: skip


def draw_ours(config: SamplerConfig) -> Draw:
    """Return the product's own `sample`, in batches of all images at once."""
    def draw(model: nn.Module, steps: int, num_images: int) -> Tensor:
        chosen = dataclasses.replace(config, num_steps=steps, batch_size=num_images)
        return sample(model, chosen, num_images, SEED)

    return draw


def _draw_by_diffusers(setting: Setting, name: str, options: dict[str, object]) -> Draw:
    def draw(unet: nn.Module, steps: int, num_images: int) -> Tensor:
        scheduler = make_scheduler(setting.params.diffusion, name, **options)
        from diffusers import DDPMPipeline

        if name == "UniPCMultistepScheduler":  # its step takes no generator, as DDPMPipeline asks
            step = scheduler.step
            scheduler.step = lambda output, t, x, generator=None: step(output, t, x)
        pipeline = DDPMPipeline(unet, scheduler)
        pipeline.set_progress_bar_config(disable=True)
        rng = torch.Generator(setting.device).manual_seed(NOISE)
        images = pipeline(num_images, rng, steps, output_type="np").images
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    return draw


def _draw_by_lucidrains(setting: Setting) -> Draw:
    def draw(unet: nn.Module, steps: int, num_images: int) -> Tensor:
        model = make_gaussian_diffusion(setting.params.diffusion, unet, steps).to(setting.device)
        torch.manual_seed(NOISE)
        return model.eval().sample(num_images).clamp(0, 1).cpu()

    return draw


def _view(model: DiffusionModel, package: str) -> nn.Module:
    """Return the product's trained network as that package's samplers want it."""
    views = {"diffusers": DiffusersView, "denoising-diffusion-pytorch": LucidrainsView}
    return views[package](model.unet) if package in views else model


def _compare(
    setting: Setting, networks: dict[str, Network], chosen: dict[str, tuple[Sampler, int]],
    seconds_of_all_steps: float | None = None,
) -> Ratios:  # fmt: skip
    """Print the seconds an image of the chosen samplers, each on its own package's network."""
    if "product" not in chosen:
        print("sampling: none of our samplers is as good as all steps")
        return {}
    sides = {}
    for package, (sampler, steps) in chosen.items():
        sides[package] = _make_side(setting, networks[package], sampler, steps)
        if package == "diffusers":  # not as it comes, but easily had
            sides[f"{package}-channels-last"] = _make_side(setting, networks[package], sampler,
                                                           steps, channels_last=True)  # fmt: skip
    turns = take_turns(list(sides.values()), setting.repeats)
    show_sides("Sampling", "image", list(sides.values()), turns)
    seconds = {package: turns[side.name] for package, side in sides.items()}
    ours = seconds.pop("product")
    ratios = {f"sampling_vs_{package}": divide(theirs, ours) for package, theirs in seconds.items()}
    if seconds:
        ratios["sampling_vs_fastest_peer"] = divide(seconds[fastest(seconds, list(seconds))], ours)
    if seconds_of_all_steps is not None:
        ratios["sampling_vs_all_steps"] = divide([seconds_of_all_steps] * len(ours), ours)
    return ratios


def _make_side(
    setting: Setting, network: Network, sampler: Sampler, steps: int, channels_last: bool = False
) -> Side:
    model = network.build().to(setting.device).eval().requires_grad_(False)
    if channels_last or sampler.package == "product":  # ours as load_diffusion does it
        model = model.to(memory_format=torch.channels_last)
    cost = count_cost(network, setting.num_images, backward=False)
    return Side(
        f"{sampler.package} {sampler.name}, {steps} steps{', channels last' * channels_last}",
        lambda: time_call(lambda: sampler.draw(model, steps, setting.num_images),
                          setting.device) / setting.num_images,
        dataclasses.replace(cost, flops=cost.flops * steps),
    )  # fmt: skip
