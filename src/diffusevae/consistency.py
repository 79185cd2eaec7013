"""How the sections of an experiment must fit together, each of them being sound in itself.

Whatever can be seen before any work starts is looked for here, so that it does not end a run after
an hour.
"""

import math
from collections.abc import Iterator, Mapping
from types import SimpleNamespace

from diffusevae.compression import size_vae
from diffusevae.data import DatasetConfig
from diffusevae.errors import InputError
from diffusevae.layers import check_halving
from diffusevae.metrics import WINDOW
from diffusevae.params import override, suggest
from diffusevae.search_space import check_space

SMALLEST_SET = 4  # images between which a Frechet distance and its interval can be told
# What each search may vary: what the training that reads its result takes from it.
TUNABLE = {
    "tune_vae": ("vae", "vae_optimiser"),
    "tune_ddpm": ("diffusion", "unet", "diffusion_optimiser"),
}


def find_misfits(params: SimpleNamespace, images: DatasetConfig) -> list[str]:
    """Return what does not fit together, one line each, beginning with the section's name.

    `params` has the sections of an experiment as attributes, `images` is its data set's.
    """
    misfits = [*_misfits_of_images(params, images)]
    spaces = [misfit for stage in TUNABLE for misfit in _misfits_of_space(params, stage)]
    if not spaces:  # what is tuned bounds the numbers
        misfits += [*_misfits_of_numbers(params, images), *_misfits_of_codes(params, images)]
    return misfits + spaces


def find_study_misfits(study: SimpleNamespace, experiment: SimpleNamespace) -> list[str]:
    """Return what of a latent study does not fit the experiment whose models it uses."""
    sampler = study.autoencoders.interpolation.sampler
    if sampler.guidance > 0 and experiment.train_diffusevae.p_uncond == 0:
        return ["autoencoders.interpolation.sampler.guidance: needs a model trained without its "
                "condition too; set it to 0, or the experiment's train_diffusevae.p_uncond above 0"]
    return []


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
    for code in params.compress.codes:
        try:
            size_vae(params.vae, params.compress, code, images.image_size)
        except InputError as error:
            yield str(error)


def _misfits_of_numbers(params: SimpleNamespace, images: DatasetConfig) -> Iterator[str]:
    for place, value, most, what in _limits(params, images):
        if value > most:
            yield f"{place}: {value}, but there are only {most} {what}; use at most {most}"
    neighbours = params.evaluate.neighbours
    needed = max(SMALLEST_SET, neighbours + 1)
    smallest = min(params.sample.num_images, params.sample.num_generated)
    if smallest < needed:
        yield (f"sample: {smallest} images; at least {needed} must be refined and generated where "
               f"evaluate.neighbours is {neighbours}")  # fmt: skip
    for stage in ("train_diffusevae", "ablate"):
        if params.sampler.guidance > 0 and getattr(params, stage).p_uncond == 0:
            yield ("sampler.guidance: needs a model trained without its condition too; set "
                   f"{stage}.p_uncond above 0, or guidance to 0")  # fmt: skip
    if params.diffusion.open_ends and not params.sampler.clip:
        yield ("sampler.clip: false, but a model trained with diffusion.open_ends counts on it; "
               "set sampler.clip to true, or diffusion.open_ends to false")  # fmt: skip


def _limits(
    params: SimpleNamespace, images: DatasetConfig
) -> Iterator[tuple[str, float, float, str]]:
    """Yield (place, value, most, what there are only so many of)."""
    num_train = images.num_train or math.inf
    num_codes = min(params.train_vae.num_snapshot_codes, images.validation_images)
    num_timesteps = _least_timesteps(params)
    yield "prior.num_components", params.prior.num_components, num_train, "training images"
    yield "sampler.num_steps", params.sampler.num_steps, num_timesteps, "timesteps"
    yield "sample.num_images", params.sample.num_images, images.num_test, "test images"
    yield ("figures.num_images", params.figures.num_images, params.sample.num_images,
           "refined images (sample.num_images)")  # fmt: skip
    yield ("figures.tsne_perplexity", params.figures.tsne_perplexity, num_codes - 1,
           "other codes (train_vae.num_snapshot_codes, validation_images)")  # fmt: skip
    yield ("ablate.num_train_images", params.ablate.num_train_images, num_train,
           "training images")  # fmt: skip
    yield ("ablate.num_test_images", params.ablate.num_test_images, images.num_test,
           "test images")  # fmt: skip
    yield ("compress.num_train_images", params.compress.num_train_images, num_train,
           "training images")  # fmt: skip
    yield ("compress.num_test_images", params.compress.num_test_images, images.num_test,
           "test images")  # fmt: skip
    most_steps = max(*params.frontier.num_steps, params.frontier.converged_steps)
    yield "frontier.num_steps, converged_steps", most_steps, num_timesteps, "timesteps"
    yield ("frontier.num_images", params.frontier.num_images,
           images.validation_images // 2, "pairs of validation images")  # fmt: skip
    for stage in ("train_vae", "train_ddpm", "train_diffusevae"):
        config = getattr(params, stage)
        for epoch in config.snapshot_epochs:
            yield f"{stage}.snapshot_epochs", epoch, config.epochs, f"epochs ({stage}.epochs)"


def _least_timesteps(params: SimpleNamespace) -> int:
    """Return the least number of timesteps the model can have, be it tuned or not."""
    options = params.tune_ddpm.space.get("diffusion", {}).get("num_timesteps")
    if options is None or params.tune_ddpm.n_trials == 0:
        return params.diffusion.num_timesteps
    return min(_ends(options))


def _misfits_of_space(params: SimpleNamespace, stage: str) -> Iterator[str]:
    """Yield what a search space gets wrong: unknown sections and keys, values out of range."""
    space = getattr(params, stage).space
    try:
        check_space(space)
    except InputError as error:
        yield f"{stage}.{error}"
        return
    for section, keys in space.items():
        place = f"{stage}.space.{section}"
        if section not in TUNABLE[stage]:
            yield f"{place}: cannot be tuned; {suggest(section, TUNABLE[stage])}"
            continue
        for key, options in keys.items():
            yield from _misfits_of_options(getattr(params, section), place, key, options)


def _misfits_of_options(config: object, place: str, key: str, options: Mapping) -> Iterator[str]:
    ends = _ends(options)
    if not isinstance(ends, list) or not ends:
        yield f"{place}.{key}: choices must be a list with at least one entry"
        return
    for value in ends:
        try:
            override(config, {key: value}, place)
        except InputError as error:
            yield str(error)
            return
    if "low" in options and ends[0] > ends[1]:
        yield f"{place}.{key}: low {ends[0]} is above high {ends[1]}; swap them"


def _ends(options: Mapping) -> list:
    """Return the choices, or both ends of the range, that a search space allows for a key."""
    return options["choices"] if "choices" in options else [options["low"], options["high"]]
