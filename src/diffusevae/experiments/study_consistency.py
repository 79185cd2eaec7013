"""How a latent study must fit its data set and the experiment whose models it uses."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING

from diffusevae.core.errors import InputError
from diffusevae.data.dataset import DatasetConfig
from diffusevae.experiments.drawn_sections import draw_sections
from diffusevae.models.layers import check_halving
from diffusevae.sampling.timesteps import most_steps

if TYPE_CHECKING:  # which take seconds to import
    from diffusevae.latents.autoencoders.family import FamilyConfig
    from diffusevae.latents.digits.digits_study import BetaVAEConfig

Limit = tuple[str, int, int | None, str]  # place, value, most (None: not known), of what


def find_misfits_of_sizes(study: SimpleNamespace, image_size: int) -> list[str]:
    """Return what of a latent study does not fit its data set's images, image_size x image_size."""
    family, sprites = study.autoencoders, study.sprites
    halved = {
        "beta_vae.model.channels": (len(study.beta_vae.model.channels), image_size),
        "beta_vae.autoencoder.channels": (len(study.beta_vae.autoencoder.channels) + 1, image_size),
        "sprites.vae.channels": (len(sprites.vae.channels), sprites.image_size),
        "autoencoders.network.channels": (len(family.network.channels), image_size),
        "autoencoders.restoration.channels": (len(family.restoration.channels) - 1, image_size),
    }
    misfits = [
        f"{place}: images of {side} x {side} cannot be halved {halvings} times; name fewer"
        for place, (halvings, side) in halved.items()
        if side % 2**halvings
    ]
    misfits += [
        f"autoencoders.restoration.factors: {factor} does not divide images of "
        f"{image_size} x {image_size}; use one that does"
        for factor in family.restoration.factors
        if image_size % factor
    ]
    unet = family.segmentation.unet
    for side in (image_size, family.segmentation.tile):
        try:
            check_halving((1, side, side), unet.channel_multipliers)
        except InputError as error:
            misfits.append(f"autoencoders.segmentation.unet.{error}")
    return misfits


def find_misfits_of_counts(
    study: SimpleNamespace, images: DatasetConfig, other: DatasetConfig
) -> Iterator[str]:
    """Yield what a latent study wants more of than its data sets have, or than its own parts take.

    The other data set's images for validation are taken from those for training.
    """
    spared = None if other.num_train is None else other.num_train - 1
    for place, value, most, what in [
        *_limits_of_beta_vae(study.beta_vae, images),
        *_limits_of_family(study.autoencoders, images),
        *_limits_of_codes(study.autoencoders, images),
        (
            "autoencoders.num_validation_images",
            study.autoencoders.num_validation_images,
            spared,
            "training images of other_dataset that can be spared",
        ),
    ]:
        if most is not None and value > most:
            yield f"{place}: {value}, but there are only {most} {what}; use at most {most}"


def _limits_of_beta_vae(config: "BetaVAEConfig", images: DatasetConfig) -> Iterator[Limit]:
    yield "beta_vae.num_test_images", config.num_test_images, images.num_test, "test images"
    yield (
        "beta_vae.num_traversed",
        config.num_traversed,
        config.num_test_images,
        "test images in the study (beta_vae.num_test_images)",
    )
    yield "beta_vae.num_clusters", config.num_clusters, images.num_train, "training images"


def _limits_of_family(family: "FamilyConfig", images: DatasetConfig) -> Iterator[Limit]:
    for part, most in (
        ("train", images.num_train),
        ("validation", images.validation_images),
        ("test", images.num_test),
    ):
        name = f"num_{part}_images"
        yield f"autoencoders.{name}", getattr(family, name), most, f"{part} images of the data set"
    for place, value, part in (
        ("segmentation.num_digits", family.segmentation.num_digits, "train"),
        ("restoration.num_settings_images", family.restoration.num_settings_images, "validation"),
        ("holes.num_images", family.holes.num_images, "train"),
        ("holes.num_images", family.holes.num_images, "test"),
        ("interpolation.num_pairs", family.interpolation.num_pairs, "test"),
    ):
        name = f"num_{part}_images"
        what = f"{part} images in the study (autoencoders.{name})"
        yield f"autoencoders.{place}", value, getattr(family, name), what


def _limits_of_codes(family: "FamilyConfig", images: DatasetConfig) -> Iterator[Limit]:
    """Yield the longest codes that are compared with PCA, and how many components that has."""
    stacked, latents = family.stacked, max(family.undercomplete.latents)
    for place, value, side in (
        ("undercomplete.latents", latents, images.image_size),
        ("stacked.widths", stacked.widths[-1], stacked.image_size),
    ):
        most = min(side**2, family.num_train_images - 1)
        yield f"autoencoders.{place}", value, most, "principal components"


def find_misfits_of_flips(*sets: DatasetConfig) -> Iterator[str]:
    """Yield that a latent study's data set asks for what its trainings do not do."""
    if any(images.flips for images in sets):
        yield (
            "dataset, other_dataset: images.flips is true, but latent studies mirror no images; "
            "name data sets where it is false"
        )


def find_study_misfits(study: SimpleNamespace, experiment: SimpleNamespace) -> Iterator[str]:
    """Yield what of a latent study does not fit the experiment whose models it uses."""
    place, sampler = "autoencoders.interpolation.sampler", study.autoencoders.interpolation.sampler
    if sampler.guidance > 0 and experiment.train_diffusevae.p_uncond == 0:
        yield (
            f"{place}.guidance: needs a model trained without its condition too; set it to 0, "
            "or the experiment's train_diffusevae.p_uncond above 0"
        )
    drawn = draw_sections(experiment, "tune_ddpm", [])
    models = drawn.get("diffusion", [experiment.diffusion])
    most = most_steps(sampler.sampler, min(model.num_timesteps for model in models))
    if sampler.num_steps > most:
        yield (
            f"{place}.num_steps: {sampler.num_steps}, but of the experiment's timesteps "
            f"{sampler.sampler} can take only {most}; use at most {most}"
        )
    if not sampler.clip and any(model.open_ends for model in models):
        yield (
            f"{place}.clip: false, but a model trained with diffusion.open_ends counts on it; "
            "set it to true"
        )
