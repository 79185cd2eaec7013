"""Small models of random weights, and the samplers to draw from them."""

import torch

from diffusevae.models.diffusion import DiffusionModel
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.unet import UNet, UNetConfig
from diffusevae.models.vae import VAE, VAEConfig
from diffusevae.sampling.sampler_config import SamplerConfig


def make_unet_config(**changes) -> UNetConfig:
    """Return two levels of 8 and 16 channels, conditioned at several scales."""
    values = dict(
        base_channels=8,
        channel_multipliers=(1, 2),
        blocks_per_level=2,
        attention_levels=(1,),
        num_heads=2,
        time_emb_dim=16,
        dropout=0.0,
        fuse=("in", "down", "skip"),
    )
    return UNetConfig(**(values | changes))


def make_unet(conditional=True, image_shape=(1, 16, 16), **changes) -> UNet:
    """Return a UNet whose last layer, zero at first, answers something."""
    torch.manual_seed(0)
    unet = UNet(make_unet_config(**changes), image_shape, conditional)
    torch.nn.init.normal_(unet.conv_out.weight)
    return unet


def make_diffusion(
    prediction="eps",
    image_range="centred",
    conditional=False,
    fuse=("in", "down", "skip"),
    condition_channels=None,
    num_classes=0,
    code_shape=None,
    **changes,
) -> DiffusionModel:
    """Return a diffusion model of 50 timesteps for images of 1 x 16 x 16."""
    values = dict(
        scheduler_type="cosine",
        num_timesteps=50,
        beta_start=1e-4,
        beta_end=0.02,
        prediction=prediction,
        image_range=image_range,
        open_ends=False,
    )
    torch.manual_seed(0)
    model = DiffusionModel(
        DiffusionConfig(**(values | changes)),
        make_unet_config(fuse=fuse),
        (1, 16, 16),
        conditional,
        condition_channels=condition_channels,
        num_classes=num_classes,
        code_shape=code_shape,
    )
    torch.nn.init.normal_(model.unet.conv_out.weight, std=0.1)
    return model


def make_vae(image_shape=(1, 32, 32), num_classes=0, **changes) -> VAE:
    """Return a VAE of three levels, which makes of 32 x 32 pixels a code of 3 x 8 x 8."""
    values = dict(
        latent_channels=3,
        base_channels=8,
        channel_multipliers=(1, 2, 2),
        attention_levels=(2,),
        dropout=0.0,
        reconstruction="mse",
        kl_weight=0.5,
    )
    torch.manual_seed(0)
    return VAE(VAEConfig(**(values | changes)), image_shape, num_classes)


def make_sampler(**changes) -> SamplerConfig:
    """Return DDIM without noise, in 200 steps."""
    values = dict(
        sampler="ddim",
        num_steps=200,
        spacing="trailing",
        eta=0.0,
        variance="posterior",
        clip=True,
        guidance=0.0,
        temperature=1.0,
        shared_noise=False,
        batch_size=128,
    )
    return SamplerConfig(**(values | changes))
