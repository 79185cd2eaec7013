"""The autoencoder family as one study: its parameters, and its parts in order.

The parts are the rows C1 to C10 of docs/study.md, section 9.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from diffusevae.core.params import PositiveCount, Range
from diffusevae.latents.autoencoders.holes import HolesConfig, study_holes
from diffusevae.latents.autoencoders.interpolation import (
    Generators,
    InterpolationConfig,
    find_pairs,
    study_interpolation,
)
from diffusevae.latents.autoencoders.losses import LossesConfig, study_losses
from diffusevae.latents.autoencoders.manifold import ManifoldConfig, study_manifold
from diffusevae.latents.autoencoders.networks import NetworkConfig, train_autoencoder
from diffusevae.latents.autoencoders.other_data import study_other_data
from diffusevae.latents.autoencoders.part import AE, VAE, Data, Part, Train
from diffusevae.latents.autoencoders.restoration import (
    RestorationConfig,
    study_denoising,
    study_super_resolution,
)
from diffusevae.latents.autoencoders.segmentation import SegmentationConfig, study_segmentation
from diffusevae.latents.autoencoders.sparse import SparseConfig, study_sparse
from diffusevae.latents.autoencoders.stacked import StackedConfig, study_stacked
from diffusevae.latents.autoencoders.undercomplete import UndercompleteConfig, study_undercomplete
from diffusevae.models.classifier import Classifier
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.models.vae import VAE as StageVAE

TITLE = "The autoencoder family"


@dataclass(frozen=True)
class FamilyConfig:
    """Sizes of the data, the network that most parts share, and each part's own parameters.

    sampled_latents and sampled_beta: the AE and VAE to interpolate and to draw codes from. They,
    and the models for other data, have the first of the seeds of `undercomplete`.
    """

    num_train_images: PositiveCount
    num_validation_images: PositiveCount
    num_test_images: PositiveCount
    network: NetworkConfig
    undercomplete: UndercompleteConfig
    sparse: SparseConfig
    stacked: StackedConfig
    restoration: RestorationConfig
    manifold: ManifoldConfig
    sampled_latents: PositiveCount
    sampled_beta: Annotated[float, Range(0, 1000)]
    interpolation: InterpolationConfig
    holes: HolesConfig
    segmentation: SegmentationConfig
    losses: LossesConfig


@dataclass(frozen=True, eq=False)
class Given:
    """What other stages made: two data sets, the classifier, an experiment's models, nuclei."""

    data: Data
    other: Data
    classifier: Classifier
    first_stage: StageVAE
    diffusevae: DiffusionModel
    nuclei: Path


def study_family(config: FamilyConfig, given: Given, train: Train) -> list[Part]:
    """Return what every part found. Figures are drawn on the way: call it in `figure_style`."""
    data, network, seed = given.data, config.network, config.undercomplete.seeds[0]
    latents = config.sampled_latents
    find_pairs(config.interpolation, data)  # before anything is trained: are there enough?
    parts = [
        study_segmentation(config.segmentation, given.nuclei, data, train),
        study_undercomplete(config.undercomplete, network, data, train),
        study_sparse(config.sparse, network, data, train),
        study_stacked(config.stacked, data, train),
        study_denoising(config.restoration, data, train),
        study_super_resolution(config.restoration, data, train),
        study_manifold(config.manifold, network, data, train),
        study_other_data(
            network, max(config.undercomplete.latents), seed, data, given.other, train
        ),
    ]
    ae = train_autoencoder(AE, network, latents, data, seed, train)
    vae = train_autoencoder(VAE, network, latents, data, seed, train, beta=config.sampled_beta)
    models = Generators(ae, vae, given.first_stage, given.diffusevae)
    return [
        *parts,
        study_interpolation(config.interpolation, models, given.classifier, data),
        study_holes(config.holes, ae, vae, given.classifier, data),
        study_losses(config.losses, network, data, train),
    ]
