"""How much of each thing the sections of the studies may ask for."""

import math
from collections.abc import Iterator
from types import SimpleNamespace

from diffusevae.data.dataset import DatasetConfig
from diffusevae.sampling.timesteps import most_steps
from diffusevae.studies.distillation.distillation import DistilConfig
from diffusevae.studies.frontier.frontier_study import FrontierConfig
from diffusevae.studies.priors.priors_study import PriorsConfig
from diffusevae.studies.restoration.restoration_config import RestoreConfig
from diffusevae.studies.theory.theory_config import TheoryConfig

Limit = tuple[str, float, float | None, str]  # place, value, most (None: not known), of what


def limits_of_studies(params: SimpleNamespace, images: DatasetConfig) -> Iterator[Limit]:
    """Yield (place, value, most, what there are only so many of) of the studies' sections."""
    num_train = images.num_train or math.inf
    num_timesteps = params.diffusion.num_timesteps
    yield ("ablate.num_train_images", params.ablate.num_train_images, num_train, "training images")
    tested = max(params.ablate.num_test_images, params.ablate.bound_images)
    yield ("ablate.num_test_images, bound_images", tested, images.num_test, "test images")
    yield ("ablate.path_steps", params.ablate.path_steps, num_timesteps, "timesteps")
    yield (
        "compress.num_train_images",
        params.compress.num_train_images,
        num_train,
        "training images",
    )
    yield (
        "compress.num_test_images",
        params.compress.num_test_images,
        images.num_test,
        "test images",
    )
    yield ("robustness.num_images", params.robustness.num_images, images.num_test, "test images")
    yield from _limits_of_priors(params.priors, images, num_timesteps)
    yield from _limits_of_restoration(params.restore, images, num_timesteps)
    yield from _limits_of_theory(params.theory, images, num_timesteps)
    yield from _limits_of_steps(params.frontier, params.distil, num_timesteps)
    yield (
        "frontier.num_images",
        params.frontier.num_images,
        images.validation_images // 2,
        "pairs of validation images",
    )
    pairs = None if images.num_test is None else images.num_test // 2
    yield ("frontier.num_images", params.frontier.num_images, pairs, "pairs of test images")
    yield ("distil.num_train_images", params.distil.num_train_images, num_train, "training images")


def _limits_of_steps(
    frontier: FrontierConfig, distil: DistilConfig, num_timesteps: int
) -> Iterator[Limit]:
    largest = max(*frontier.num_steps, frontier.converged_steps)
    yield "frontier.num_steps, converged_steps", largest, num_timesteps, "timesteps"
    ahead = most_steps("ddim_ahead", num_timesteps)
    if "ddim_ahead" in frontier.samplers:
        yield "frontier.num_steps of ddim_ahead", max(frontier.num_steps), ahead, "timesteps"
    yield "distil.num_steps", max(distil.num_steps), num_timesteps, "timesteps"
    yield "distil.compared_steps", max(distil.compared_steps), num_timesteps, "timesteps"


def _limits_of_theory(
    theory: TheoryConfig, images: DatasetConfig, num_timesteps: int
) -> Iterator[Limit]:
    num_train = images.num_train or math.inf
    yield "theory.num_images", theory.num_images, images.num_test, "test images"
    yield "theory.num_train_images", theory.num_train_images, num_train, "training images"
    yield "theory.num_steps", theory.num_steps, num_timesteps, "timesteps"
    yield "theory.num_levels", theory.num_levels, num_timesteps - 1, "steps from t to t - 1"


def _limits_of_restoration(
    restore: RestoreConfig, images: DatasetConfig, num_timesteps: int
) -> Iterator[Limit]:
    yield ("restore.num_images", restore.num_images, images.num_test, "test images")
    yield (
        "restore.num_settings_images",
        restore.num_settings_images,
        images.validation_images,
        "validation images",
    )
    yield ("restore.num_steps", restore.num_steps, num_timesteps, "timesteps")


def _limits_of_priors(
    config: PriorsConfig, images: DatasetConfig, num_timesteps: int
) -> Iterator[Limit]:
    num_train = images.num_train or math.inf
    yield "priors.num_images", config.num_images, images.num_test, "test images"
    yield "priors.num_images", config.num_images, num_train, "training images"
    yield "priors.num_components", max(config.num_components), num_train, "training images"
    yield "priors.num_labels", max(config.num_labels), num_train, "training images"
    yield "priors.num_steps", config.num_steps, num_timesteps, "timesteps"
