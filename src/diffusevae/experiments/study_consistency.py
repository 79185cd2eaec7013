"""How a latent study must fit its data set and the experiment whose models it uses."""

from collections.abc import Iterator
from types import SimpleNamespace

from diffusevae.core.errors import InputError
from diffusevae.experiments.drawn_sections import draw_sections
from diffusevae.models.layers import check_halving
from diffusevae.sampling.timesteps import most_steps


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
