"""How the sections of an experiment must fit together, each of them being sound in itself.

Whatever can be seen before any work starts is looked for here, so that it does not end a run after
an hour.
"""

import math
from collections.abc import Iterator, Mapping
from types import SimpleNamespace

from diffusevae.core.errors import InputError
from diffusevae.data.dataset import DatasetConfig
from diffusevae.experiments.drawn_sections import TUNABLE, draw_sections
from diffusevae.experiments.study_limits import Limit, limits_of_studies
from diffusevae.experiments.training_consistency import find_misfits_of_trainings
from diffusevae.metrics.intervals import count_needed
from diffusevae.metrics.paired import WINDOW
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.layers import check_halving
from diffusevae.models.vae_config import size_vae
from diffusevae.sampling.timesteps import most_steps, starts_without_noise
from diffusevae.studies.ablation.further_measures import check_bound
from diffusevae.studies.ablation.variants import apply_variant
from diffusevae.training.objectives import shared_levels


def find_misfits(params: SimpleNamespace, images: DatasetConfig) -> list[str]:
    """Return what does not fit together, one line each, beginning with the section's name.

    `params` has the sections of an experiment as attributes, `images` is its data set's. Where a
    section is tuned, what the search can draw takes the place of its values.
    """
    misfits: list[str] = []
    drawn = {
        section: configs
        for stage in TUNABLE
        for section, configs in draw_sections(params, stage, misfits).items()
    }
    first = SimpleNamespace(**vars(params) | {name: some[0] for name, some in drawn.items()})
    misfits += [*_misfits_of(first, images), *_misfits_of_levels(params, drawn)]
    for section, configs in drawn.items():
        others = (SimpleNamespace(**vars(first) | {section: config}) for config in configs[1:])
        misfits += next(filter(None, (_misfits_of(other, images) for other in others)), [])
    return list(dict.fromkeys(misfits))


def _misfits_of_levels(
    params: SimpleNamespace, drawn: Mapping[str, list[DiffusionConfig]]
) -> Iterator[str]:
    if params.tune_ddpm.objective == "fair" and params.tune_ddpm.n_trials:
        configs = drawn.get("diffusion", [params.diffusion])
        try:
            shared_levels(config.schedule for config in configs)
        except InputError as error:
            yield str(error)


def _misfits_of(params: SimpleNamespace, images: DatasetConfig) -> list[str]:
    return [
        *_misfits_of_images(params, images),
        *_misfits_of_numbers(params, images),
        *_misfits_of_codes(params, images),
        *_misfits_of_variants(params),
        *find_misfits_of_trainings(params),
    ]


def _misfits_of_images(params: SimpleNamespace, images: DatasetConfig) -> Iterator[str]:
    size = images.image_size
    if size < WINDOW:
        yield f"dataset: its images are {size} x {size}; SSIM needs image_size {WINDOW} or more"
    for section in ("vae", "unet"):
        try:
            check_halving((1, size, size), getattr(params, section).channel_multipliers)
        except InputError as error:
            yield f"{section}.{error}"


def _misfits_of_codes(params: SimpleNamespace, images: DatasetConfig) -> Iterator[str]:
    config, size = params.compress, images.image_size
    for code in config.codes:
        try:
            size_vae(
                params.vae, code, size, config.channel_multipliers, config.kl_weight, "compress"
            )
        except InputError as error:
            yield str(error)


def _misfits_of_variants(params: SimpleNamespace) -> Iterator[str]:
    try:
        check_bound(params.ablate.bound_images, params.vae.kind)
    except InputError as error:
        yield str(error)
    for variant in params.ablate.listed:
        try:
            apply_variant(variant, params.diffusion, params.unet)
        except InputError as error:
            yield str(error)


def _misfits_of_numbers(params: SimpleNamespace, images: DatasetConfig) -> Iterator[str]:
    for place, value, most, what in _limits(params, images):
        if most is not None and value > most:
            yield f"{place}: {value}, but there are only {most} {what}; use at most {most}"
    neighbours = params.evaluate.neighbours
    needed = count_needed(neighbours)
    smallest = min(params.sample.num_images, params.sample.num_generated)
    if smallest < needed:
        yield (
            f"sample: {smallest} images; at least {needed} must be refined and generated where "
            f"evaluate.neighbours is {neighbours}"
        )
    for stage in ("train_diffusevae", "ablate"):
        if params.sampler.guidance > 0 and getattr(params, stage).p_uncond == 0:
            yield (
                "sampler.guidance: needs a model trained without its condition too; set "
                f"{stage}.p_uncond above 0, or guidance to 0"
            )
    for stage in ("train_ddpm", "train_diffusevae"):
        if params.unet.labels and getattr(params, stage).p_uncond == 0:
            yield (
                "unet.labels: a model that is told classes must know images without, too; set "
                f"{stage}.p_uncond above 0, or labels to false"
            )
    frontier, spacing = params.frontier, params.sampler.spacing
    points = [(name, steps) for name in frontier.samplers for steps in frontier.num_steps]
    if any(
        starts_without_noise(name, steps, spacing)
        for name, steps in [*points, ("ddim", frontier.converged_steps)]
    ):
        yield (
            f"frontier.num_steps, converged_steps: 1 with sampler.spacing {spacing} is a step "
            "at t = 0, where there is no noise; use trailing, or 2 steps or more"
        )
    if params.diffusion.open_ends and not params.sampler.clip:
        yield (
            "sampler.clip: false, but a model trained with diffusion.open_ends counts on it; "
            "set sampler.clip to true, or diffusion.open_ends to false"
        )


def _limits(params: SimpleNamespace, images: DatasetConfig) -> Iterator[Limit]:
    """Yield (place, value, most, what there are only so many of)."""
    num_train = images.num_train or math.inf
    num_codes = min(params.train_vae.num_snapshot_codes, images.validation_images)
    num_timesteps = params.diffusion.num_timesteps
    yield "prior.num_components", params.prior.num_components, num_train, "training images"
    yield (
        "sampler.num_steps",
        params.sampler.num_steps,
        most_steps(params.sampler.sampler, num_timesteps),
        "timesteps",
    )
    yield "sample.num_images", params.sample.num_images, images.num_test, "test images"
    yield (
        "figures.num_images",
        params.figures.num_images,
        params.sample.num_images,
        "refined images (sample.num_images)",
    )
    yield (
        "figures.tsne_perplexity",
        params.figures.tsne_perplexity,
        num_codes - 1,
        "other codes (train_vae.num_snapshot_codes, validation_images)",
    )
    yield from limits_of_studies(params, images)
    for stage in ("train_vae", "train_ddpm", "train_diffusevae"):
        config = getattr(params, stage)
        for epoch in config.snapshot_epochs:
            yield f"{stage}.snapshot_epochs", epoch, config.epochs, f"epochs ({stage}.epochs)"
