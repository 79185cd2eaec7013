"""The library on images of your own: train a VAE and a DiffuseVAE, sample, evaluate, save.

Thin: each function calls those that the pipeline's stages call, so the same images, configuration
and seed give the same numbers. docs/library.md says what of it may change.

>>> import torch
>>> from diffusevae import api
>>> images = torch.rand(80, 1, 16, 16)  # yours: uint8, or in [0, 1]
>>> vae = api.train_vae(images, epochs=1)
>>> model = api.train_diffusevae(images, vae, epochs=1)
>>> x_hat, refined = api.refine(model, images[:8])
>>> decoded, new = api.generate(model, 8)
>>> new.shape
torch.Size([8, 1, 16, 16])
>>> api.evaluate_pairs(images[:8], refined).round(3).columns.tolist()
['value', 'low', 'high']

It runs on the device that DIFFUSEVAE_DEVICE names, else on a GPU if there is one, and has torch
take deterministic kernels. What is wrong with an argument raises InputError in one line.
"""

from diffusevae.api.defaults import (
    CLASSIFIER,
    CLASSIFIER_OPTIMISER,
    DIFFUSION,
    DIFFUSION_OPTIMISER,
    PRIOR,
    SAMPLER,
    UNET,
    VAE_NETWORK,
    VAE_OPTIMISER,
)
from diffusevae.api.measures import evaluate_pairs, evaluate_sets, load_results, train_classifier
from diffusevae.api.models import generate, load, refine, save, train_diffusevae, train_vae
from diffusevae.core.errors import InputError
from diffusevae.models.classifier import (
    Classifier,
    ClassifierConfig,
    load_classifier,
    save_classifier,
)
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.latent_mixture import MixtureConfig
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae import VAE, load_vae, save_vae
from diffusevae.models.vae_config import VAEConfig
from diffusevae.sampling.generation import Pair, load_pair
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.training.loop import OptimiserConfig

__all__ = [
    "CLASSIFIER", "CLASSIFIER_OPTIMISER", "Classifier", "ClassifierConfig", "DIFFUSION",
    "DIFFUSION_OPTIMISER", "DiffusionConfig", "InputError", "MixtureConfig", "OptimiserConfig",
    "PRIOR", "Pair", "SAMPLER", "SamplerConfig", "UNET", "UNetConfig", "VAE", "VAE_NETWORK",
    "VAE_OPTIMISER", "VAEConfig", "evaluate_pairs", "evaluate_sets", "generate", "load",
    "load_classifier", "load_pair", "load_results", "load_vae", "refine", "save",
    "save_classifier", "save_vae", "train_classifier", "train_diffusevae", "train_vae",
]  # fmt: skip
