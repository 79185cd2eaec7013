"""A VAE and the DiffuseVAE that refines its reconstructions: trained, drawn from, kept."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from diffusevae.api.defaults import (
    DIFFUSION,
    DIFFUSION_OPTIMISER,
    PRIOR,
    SAMPLER,
    UNET,
    VAE_NETWORK,
    VAE_OPTIMISER,
)
from diffusevae.api.images import Array, describe_shape, hold_out, in_unit
from diffusevae.core.device import choose_device
from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import sha256_of
from diffusevae.models.diffusion import save_diffusion
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.latent_mixture import MixtureConfig, save_mixture
from diffusevae.models.mixture_fitting import fit_mixture
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae import VAE, encode_all, reconstruct_all, save_vae
from diffusevae.models.vae_config import VAEConfig
from diffusevae.sampling import generation
from diffusevae.sampling.generation import Density, Pair, load_pair
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Callbacks, Model, OptimiserConfig
from diffusevae.training.vae_training import fit_vae

IMAGES_OF_A_GAUSSIAN = 20  # at the least, where nothing is said of the prior
VAE_FILE, PRIOR_FILE = "vae.safetensors", "prior.safetensors"
DIFFUSEVAE_FILE = "diffusevae.safetensors"

OnEpoch = Callable[[dict[str, float]], object]


def train_vae(
    images: Array,
    epochs: int,
    *,
    validation: Array | None = None,
    config: VAEConfig = VAE_NETWORK,
    optimiser: OptimiserConfig = VAE_OPTIMISER,
    seed: int = 0,
    on_epoch: OnEpoch = lambda row: None,
) -> VAE:
    """Return the frozen VAE of the best epoch (docs/study.md, section 2).

    images: N x C x H x W, uint8 or float in [0, 1] (of which 8 bits are kept), H and W to be halved
    once for each of the config's levels but one. validation: more such images, by which epochs are
    ranked; without them that is a tenth of the images, drawn by the seed. on_epoch gets each row
    of the history: epoch, train_loss, validation_loss and the loss's parts. Raises InputError for
    images that do not fit, and (Diverged) for a loss that stops being finite.

    >>> import torch
    >>> rows = []
    >>> vae = train_vae(torch.rand(40, 3, 16, 16), epochs=2, on_epoch=rows.append)
    >>> vae.latent_shape, [row["epoch"] for row in rows]
    ((4, 2, 2), [1, 2])
    """
    train, held_out = hold_out(images, validation, seed)
    vae, _ = fit_vae(
        config, optimiser, train, held_out, require_epochs(epochs), seed, tell(on_epoch)
    )
    return vae


def train_diffusevae(
    images: Array,
    vae: VAE,
    epochs: int,
    *,
    validation: Array | None = None,
    config: DiffusionConfig = DIFFUSION,
    unet: UNetConfig = UNET,
    optimiser: OptimiserConfig = DIFFUSION_OPTIMISER,
    prior: MixtureConfig | None = None,
    p_uncond: float = 0.0,
    seed: int = 0,
    on_epoch: OnEpoch = lambda row: None,
) -> Pair:
    """Return the VAE with the diffusion model that refines its x_hat (docs/study.md, section 4).

    And with the mixture over its codes from which new images come: as PRIOR, or of fewer Gaussians,
    one for each 20 images, where nothing is said. The images are those of `train_vae`, with the
    same seed, so that the same ones are held out. p_uncond: the share of images whose x_hat is
    hidden, above 0 where guidance is wanted. Raises InputError as `train_vae` does, and for an
    unet whose labels are true: classes are told to models of the pipeline only.
    """
    if unet.labels:
        raise InputError("unet.labels true: these images come without labels; set it to false")
    train, held_out = hold_out(images, validation, seed)
    if tuple(train.shape[1:]) != tuple(vae.image_shape):
        raise InputError(
            f"images of {describe_shape(train[0])}: the VAE was trained on "
            f"{' x '.join(map(str, vae.image_shape))}; give it images of that shape"
        )
    known, unseen = (Images(part, reconstruct_all(vae, part)) for part in (train, held_out))
    length = require_epochs(epochs), p_uncond
    model, _ = fit_diffusion(config, unet, optimiser, known, unseen, *length, seed, tell(on_epoch))
    if prior is None:
        count = min(PRIOR.num_components, max(1, len(train) // IMAGES_OF_A_GAUSSIAN))
        prior = dataclasses.replace(PRIOR, num_components=count)
    mixture = fit_mixture(prior, encode_all(vae, train).to(train.device), seed)
    return Pair(vae, mixture, model)


def refine(
    model: Pair, images: Array, *, sampler: SamplerConfig = SAMPLER, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return the VAE's reconstructions x_hat of images, and them refined by the diffusion model.

    Both are float32 N x C x H x W in [0, 1], on the CPU; images as in `train_vae`. Raises
    InputError.
    """
    return generation.refine(model, sampler, in_unit(images, "images"), seed)


def generate(
    model: Pair,
    num_images: int,
    *,
    density: Density = "gmm",
    sampler: SamplerConfig = SAMPLER,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return new images: what the VAE decodes of new codes, and that refined.

    Both are float32 num_images x C x H x W in [0, 1], on the CPU. density: "gmm", the mixture over
    the codes, or "prior", N(0, I). Raises InputError.
    """
    if num_images < 1:
        raise InputError(f"num_images {num_images}: use at least 1")
    return generation.generate(model, sampler, density, num_images, seed)


def save(model: Pair, folder: Path | str) -> None:
    """Write three files of safetensors, which carry their configurations.

    DiffuseVAE's names the SHA-256 of the VAE's: `load` refuses those that do not belong together.
    Raises EnvironmentFailure.
    """
    place = Path(folder)
    save_vae(place / VAE_FILE, model.vae)
    save_mixture(place / PRIOR_FILE, model.mixture)
    save_diffusion(place / DIFFUSEVAE_FILE, model.diffusevae, sha256_of(place / VAE_FILE))


def load(folder: Path | str) -> Pair:
    """Return what `save` wrote, on the device to use. Raises InputError.

    Those of a pipeline are loaded by `load_pair`.
    """
    place = Path(folder)
    mixture, diffusevae = place / PRIOR_FILE, place / DIFFUSEVAE_FILE
    return load_pair(place / VAE_FILE, mixture, diffusevae, choose_device())


def require_epochs(epochs: int) -> int:
    """Return the number of epochs. Raises InputError where there is none."""
    if epochs < 1:
        raise InputError(f"epochs {epochs}: use at least 1")
    return epochs


def tell(on_epoch: OnEpoch) -> Callbacks[Model]:
    """Return what gives each row of the history to a function."""

    def on_each(epoch: int, row: dict[str, float], model: Model) -> None:
        on_epoch(row)

    return Callbacks(on_each)
