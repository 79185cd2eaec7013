"""What the functions take where nothing is said: as the experiment quickstart, its search apart.

tests/api/test_models.py compares with params.yaml. Others: dataclasses.replace(UNET, num_heads=2).
"""

from diffusevae.models.classifier import ClassifierConfig
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.latent_mixture import MixtureConfig
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae_config import VAEConfig
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.training.loop import OptimiserConfig

VAE_NETWORK = VAEConfig(4, 8, (1, 2, 4, 8), (), 0.0, "mse", 1e-6, open_ends=True)
VAE_OPTIMISER = OptimiserConfig(2e-3, "cosine", 32, 1.0, 0.99)
DIFFUSION = DiffusionConfig("cosine", 1000, 1e-4, 0.02, "v", "centred", True)
UNET = UNetConfig(16, (1, 2, 4), 1, (2,), 4, 64, 0.0, ("in", "down", "skip"))
DIFFUSION_OPTIMISER = OptimiserConfig(2e-3, "cosine", 32, 1.0, 0.995)
PRIOR = MixtureConfig(100, "full", 8)
SAMPLER = SamplerConfig("ddim", 6, "trailing", 0.0, "posterior", True, 0.0, 1.0, False, 250)
CLASSIFIER = ClassifierConfig(16, 128, 0.2, 3)
CLASSIFIER_OPTIMISER = OptimiserConfig(2e-3, "cosine", 128, 1.0, 0.99)
