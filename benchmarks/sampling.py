"""Sampling: seconds an image, each sampler with the fewest steps that are as good as 1,000.

Many images at once are timed, and one alone. As good means: a Fréchet distance from the test images
not above the upper end of the 95 % interval of our own run with the ancestral sampler and all
timesteps. The peers' samplers are judged on the product's trained network, so that the sampler
alone decides; their speed is that of their own network of the same size, in their own pipeline, at
the steps found. Where the experiment has not been run there is no trained network, and all are
timed at the experiment's number of steps.
"""

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
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
    processes,
    show_sides,
    show_table,
    take_turns,
    time_call,
)
from benchmarks.networks import Network, Widths, count_cost, find_unets
from benchmarks.schedulers import (
    DiffusersView,
    LucidrainsView,
    make_gaussian_diffusion,
    make_scheduler,
)
from benchmarks.setting import Setting
from diffusevae.core.device import autocast, choose_device
from diffusevae.core.randomness import seed_of
from diffusevae.data.dataset import load_split
from diffusevae.experiments.experiment import load_experiment
from diffusevae.metrics.frechet_intervals import frechet_interval
from diffusevae.metrics.set_comparison import extract_features
from diffusevae.models.classifier import load_classifier
from diffusevae.models.diffusion import DiffusionModel, load_diffusion
from diffusevae.sampling.generation import Models, decode_new_codes, load_models
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.sampling.samplers import sample

STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50)
FEWEST = 20  # images that are timed
SEED = 0
NOISE = seed_of(SEED, "sample", 0)  # what `sample` seeds its first batch with: all start alike
# With trailing timesteps and a clipped x_0, as ours: both make few steps better. So does, in two
# steps, a last step of second order, which the solvers have for the asking.
SOLVER = {"timestep_spacing": "trailing", "thresholding": True}
SECOND_ORDER_END = SOLVER | {"lower_order_final": False, "final_sigmas_type": "sigma_min"}
DIFFUSERS = {
    "DDIM": ("DDIMScheduler", {"timestep_spacing": "trailing", "clip_sample": True}),
    "DPM-Solver++": ("DPMSolverMultistepScheduler", SOLVER),
    "UniPC": ("UniPCMultistepScheduler", SOLVER),
    "DPM-Solver++, second order to its end": ("DPMSolverMultistepScheduler", SECOND_ORDER_END),
    "UniPC, second order to its end": ("UniPCMultistepScheduler", SECOND_ORDER_END),
}
OURS = ("ddim", "ddim_ahead", "dpmpp_2m", "unipc")
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
        print(
            f"sampling: {setting.experiment} has not been run, so nothing is as good as 1,000 "
            f"steps; every sampler is timed at {steps} steps"
        )
        chosen = {s.package: (s, steps) for s in reversed(samplers)}
        return _compare(setting, networks, chosen)
    all_steps, bound = _sample_in_all_steps(setting, judge, "DDPM", judge.model)
    chosen = choose_steps(setting, samplers, judge, bound)
    steps = choose_diffusevae_steps(setting, judge, bound)
    return _compare(setting, networks, chosen, steps, all_steps)


def _sample_in_all_steps(
    setting: Setting, judge: Judge, name: str, model: DiffusionModel, decoded: Tensor | None = None
) -> tuple[float, float]:
    """Return the seconds an image takes in all timesteps, and what is as good: the bound."""
    draw = draw_ours(dataclasses.replace(setting.params.sampler, sampler="ddpm"), decoded)
    num_timesteps = model.schedule.num_timesteps
    drawn: list[Tensor] = []
    seconds = (
        time_call(
            lambda: drawn.append(draw(model, num_timesteps, setting.num_images)), setting.device
        )
        / setting.num_images
    )
    reached = judge.distance(drawn[0])
    print(
        f"\n{name}, {num_timesteps} steps: {seconds:.4f} s an image (n = 1), Fréchet distance "
        f"{reached['value']:.3g} [{reached['low']:.3g}, {reached['high']:.3g}]"
    )
    return seconds, reached["high"]


def choose_diffusevae_steps(setting: Setting, judge: Judge, bound: float) -> int | None:
    """Return the fewest DDIM steps in which DiffuseVAE is as good as in all, and within the bound.

    None where it never is.
    """
    models = find_models(setting)
    decoded = decode_new_codes(models, "gmm", setting.num_images, SEED)
    _, own_bound = _sample_in_all_steps(setting, judge, "DiffuseVAE", models.diffusevae, decoded)
    draw, bound = draw_diffusevae(setting), min(bound, own_bound)
    rows, chosen = [("steps", "Fréchet distance")], None
    for steps in STEPS:
        distance = judge.distance(draw(models, steps, setting.num_images))["value"]
        rows.append((steps, f"{distance:.3g}"))
        if distance <= bound:
            chosen = steps
            break
    show_table(f"DiffuseVAE, as good as all steps up to {bound:.3g}", rows)
    return chosen


def draw_diffusevae(setting: Setting) -> Callable[[Models, int, int], Tensor]:
    """Return what decodes codes from the mixture and refines the pictures in some DDIM steps."""
    config = dataclasses.replace(setting.params.sampler, sampler="ddim", eta=0.0)

    def draw(models: Models, steps: int, num_images: int) -> Tensor:
        decoded = decode_new_codes(models, "gmm", num_images, SEED)
        return draw_ours(config, decoded)(models.diffusevae, steps, num_images)

    return draw


def find_models(setting: Setting) -> Models:
    """Return the trained models of the experiment."""
    experiment = load_experiment(setting.experiment)
    stages = ("train_vae", "train_ddpm", "train_diffusevae")
    folders = (experiment.output(stage, "model.safetensors").parent for stage in stages)
    return load_models(*folders, setting.device)


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
        return frechet_interval(real, features)

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
        rows.append(
            (
                f"{sampler.package} {sampler.name}",
                steps if reached else "not reached",
                f"{min(tried):.3g}",
            )
        )
    show_table(f"Fewest steps with a Fréchet distance of at most {bound:.3g}", rows)
    return chosen


def list_samplers(setting: Setting) -> list[Sampler]:
    """Return every sampler compared."""
    config = setting.params.sampler
    return [
        *(
            Sampler("product", name, draw_ours(dataclasses.replace(config, sampler=name, eta=0.0)))
            for name in OURS
        ),
        *(
            Sampler("diffusers", name, _draw_by_diffusers(setting, *options))
            for name, options in DIFFUSERS.items()
        ),
        Sampler("denoising-diffusion-pytorch", "DDIM", _draw_by_lucidrains(setting)),
    ]


def draw_ours(config: SamplerConfig, x_hat: Tensor | None = None) -> Draw:
    """Return the product's own `sample`, in batches of all images at once."""

    def draw(model: nn.Module, steps: int, num_images: int) -> Tensor:
        chosen = dataclasses.replace(config, num_steps=steps, batch_size=num_images)
        return sample(model, chosen, num_images, SEED, x_hat)

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
        rng = torch.Generator().manual_seed(NOISE)
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
    setting: Setting,
    networks: dict[str, Network],
    chosen: dict[str, tuple[Sampler, int]],
    diffusevae_steps: int | None = None,
    seconds_of_all_steps: float | None = None,
) -> Ratios:
    """Print the seconds an image of the chosen samplers, each on its own package's network.

    First of many images at once, then of one alone: its latency.
    """
    if "product" not in chosen:
        print("sampling: none of our samplers is as good as all steps")
        return {}
    names = [
        *chosen,
        *(["diffusers-channels-last"] if "diffusers" in chosen else []),
        *(["diffusevae"] if diffusevae_steps else []),
    ]
    ratios: Ratios = {}
    with processes(names) as calls:
        for name, count in (("sampling", setting.num_images), ("latency", 1)):
            of_count = dataclasses.replace(setting, num_images=count)
            sides = _make_sides(of_count, networks, chosen, diffusevae_steps, calls)
            turns = take_turns(list(sides.values()), setting.repeats)
            show_sides(f"Sampling, {count} at once", "image", list(sides.values()), turns)
            seconds = {package: turns[side.name] for package, side in sides.items()}
            ours, diffusevae = seconds.pop("product"), seconds.pop("diffusevae", None)
            ratios |= {
                f"{name}_vs_{peer}": divide(of_peer, ours) for peer, of_peer in seconds.items()
            }
            if seconds:
                best = seconds[fastest(seconds, list(seconds))]
                ratios[f"{name}_vs_fastest_peer"] = divide(best, ours)
                if diffusevae:
                    ratios[f"diffusevae_{name}_vs_fastest_peer"] = divide(best, diffusevae)
            if seconds_of_all_steps is not None and count > 1:
                ratios["sampling_vs_all_steps"] = divide([seconds_of_all_steps] * len(ours), ours)
    return ratios


def _make_sides(
    setting: Setting,
    networks: dict[str, Network],
    chosen: dict[str, tuple[Sampler, int]],
    diffusevae_steps: int | None,
    calls: dict[str, Callable],
) -> dict[str, Side]:
    sides = {
        package: _make_side(setting, networks[package], sampler, steps, calls[package])
        for package, (sampler, steps) in chosen.items()
    }
    if "diffusers" in chosen:  # in channels-last: not as it comes, but easily had
        sides["diffusers-channels-last"] = _make_side(
            setting,
            networks["diffusers"],
            *chosen["diffusers"],
            calls["diffusers-channels-last"],
            channels_last=True,
        )
    if diffusevae_steps:
        sides["diffusevae"] = Side(
            f"product DiffuseVAE, decoding and {_count_steps(diffusevae_steps)}",
            lambda: calls["diffusevae"](time_diffusevae, setting, diffusevae_steps),
        )
    return sides


def _make_side(
    setting: Setting,
    network: Network,
    sampler: Sampler,
    steps: int,
    call: Callable,
    channels_last: bool = False,
) -> Side:
    cost = count_cost(network, setting.num_images, backward=False)
    layout = ", channels last" * channels_last
    arguments = (setting, sampler.package, sampler.name, steps, network.widths, channels_last)
    return Side(
        f"{sampler.package} {sampler.name}, {_count_steps(steps)}{layout}",
        lambda: call(time_sampling, *arguments),
        dataclasses.replace(cost, flops=cost.flops * steps),
    )


def _count_steps(steps: int) -> str:
    return f"{steps} step{'s' * (steps > 1)}"


def time_sampling(
    setting: Setting, package: str, name: str, steps: int, widths: Widths, channels_last: bool
) -> float:
    """Return the seconds an image takes by a package's sampler and network."""
    if package == "product":
        choose_device()  # as its stages do
    network = find_unets(setting, {package: widths})[package]
    model = network.build().to(setting.device).eval().requires_grad_(False)
    if channels_last or package == "product":  # ours as load_diffusion does it
        model = model.to(memory_format=torch.channels_last)
    sampler = next(
        each for each in list_samplers(setting) if (each.package, each.name) == (package, name)
    )
    with autocast(setting.device) if package != "product" else nullcontext():  # ours does so itself
        return _time_draws(lambda: sampler.draw(model, steps, setting.num_images), setting)


def time_diffusevae(setting: Setting, steps: int) -> float:
    """Return the seconds an image takes to decode and refine."""
    choose_device()
    models, draw = find_models(setting), draw_diffusevae(setting)
    return _time_draws(lambda: draw(models, steps, setting.num_images), setting)


def _time_draws(draw: Callable[[], Tensor], setting: Setting) -> float:
    """Return the seconds of an image, of so many draws that there are some images in all."""
    draws = max(1, FEWEST // setting.num_images)
    draw()  # imports, first calls
    return time_call(lambda: [draw() for _ in range(draws)], setting.device) / (
        draws * setting.num_images
    )
