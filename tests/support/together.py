"""What test_distributed.py trains in one process and in two.

torchrun ... -m tests.support.together FOLDER: each process writes what it got to FOLDER/<rank>.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae import VAEConfig
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.distributed import ALONE, Group, join_group
from diffusevae.training.loop import Callbacks, Fit, OptimiserConfig, fit
from diffusevae.training.vae_training import fit_vae
from tests.support.toy_trainings import Scalar

NO_CLIP, NO_RATE = 1e6, 1e-8
TARGETS = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
OPTIMISER = OptimiserConfig(2e-3, "cosine", 8, 1.0, 0.9)


def gradient_of_mean(num_images: int, group: Group) -> Tensor:
    """Return d/dv at v = 0 of the mean of (v - target)^2 over one batch of all images, in parts."""
    targets = TARGETS[:num_images]
    task = Fit(
        lambda i, epoch, batch, rows: (targets[i[rows]],),
        lambda model, target: {"loss": (model.value - target).square().mean()},
        lambda model: {"loss": 0.0},
        num_images,
        in_parts=True,
    )
    parts = min(2, num_images)
    model, optimiser = Scalar(), OptimiserConfig(NO_RATE, "none", num_images, NO_CLIP, 0.0, parts)
    fit(model, optimiser, 1, 0, task, Callbacks(), group=group)
    return model.value.grad


def fit_models(group: Group) -> dict[str, tuple[dict[str, Tensor], list]]:
    """Train each model on random images; return its weights and its history.

    The last batches have 1 image, which leaves none for a second process, and 5 images.
    """
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (21, 1, 16, 16), dtype=torch.uint8, generator=rng)
    rest = Callbacks(), None, group
    vae = VAEConfig(2, 8, (1, 2), (), 0.0, "mse", 1e-5)
    found = {"vae": fit_vae(vae, OPTIMISER, images[:17], images, 2, 0, *rest)}
    diffusion = DiffusionConfig("cosine", 100, 1e-4, 0.02, "v", "centred", False)
    unet = UNetConfig(8, (1, 2), 1, (1,), 2, 16, 0.0, ("in", "down", "skip"))
    for name, x_hat in {"ddpm": None, "diffusevae": images.float() / 255}.items():
        both = Images(images, x_hat)
        found[name] = fit_diffusion(diffusion, unet, OPTIMISER, both, both, 2, 0.3, 0, *rest)
    return {name: (model.state_dict(), history) for name, (model, history) in found.items()}


def train(group: Group = ALONE) -> dict:
    """Return all that can be compared."""
    gradients = {count: gradient_of_mean(count, group) for count in (5, 4, 1)}
    return {"gradients": gradients, "models": fit_models(group)}


if __name__ == "__main__":
    joined = join_group(torch.device("cpu"))
    torch.save(train(joined), Path(sys.argv[1]) / str(joined.rank))
