"""What the trained models make: refined test images, generated images, one denoising trajectory."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import PositiveCount
from diffusevae.core.randomness import generator
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import Split, to_unit
from diffusevae.models.diffusion import DiffusionModel, check_pair, load_diffusion
from diffusevae.models.latent_mixture import Mixture, load_mixture
from diffusevae.models.vae import VAE, load_vae, reconstruct_all
from diffusevae.sampling.samplers import SamplerConfig, sample

SNAPSHOT_IMAGES = 20
TRAJECTORY_IMAGES = 8
TRAJECTORY_MOMENTS = 9  # noise, seven between, the finished image


@dataclass(frozen=True)
class SampleConfig:
    """num_images: the first test images, refined; num_generated: images made by each model."""

    num_images: PositiveCount
    num_generated: PositiveCount


@dataclass(frozen=True, eq=False)
class Models:
    """The frozen VAE, the density over its codes, the DDPM and DiffuseVAE."""

    vae: VAE
    mixture: Mixture
    ddpm: DiffusionModel
    diffusevae: DiffusionModel


def load_models(
    train_vae: Path, train_ddpm: Path, train_diffusevae: Path, device: torch.device
) -> Models:
    """Return the models in the output folders of their stages.

    Raises InputError where a file cannot be read, or DiffuseVAE was trained on another VAE.
    """
    vae, diffusevae = (f / "model.safetensors" for f in (train_vae, train_diffusevae))
    check_pair(diffusevae, sha256_of(vae))
    return Models(
        load_vae(vae, device),
        load_mixture(train_vae / "prior.safetensors"),
        load_diffusion(train_ddpm / "model.safetensors", device),
        load_diffusion(diffusevae, device),
    )


def refine(
    models: Models, config: SamplerConfig, test: Split, num_images: int, seed: int, log
) -> dict[str, Tensor]:
    """Return real, vae and diffusevae (N x C x H x W in [0,1], CPU) and labels of test images.

    Measures seconds_per_image of the VAE's reconstruction and of the refinement, the VAE's part
    not included. Raises InputError where there are too few test images.
    """
    if num_images > len(test.images):
        raise InputError(
            f"sample.num_images {num_images}: there are only {len(test.images)} test "
            "images; use at most as many"
        )
    device = next(models.vae.parameters()).device
    images = test.images[:num_images].to(device)
    x_hat = _timed(log, "vae", num_images, lambda: reconstruct_all(models.vae, images))
    refined = _timed(
        log,
        "diffusevae",
        num_images,
        lambda: sample(
            models.diffusevae, config, num_images, seed, x_hat, progress=log.progress("refine")
        ),
    )
    return {
        "real": images.cpu().float() / 255,
        "vae": x_hat.cpu(),
        "diffusevae": refined,
        "labels": test.labels[:num_images],
    }


@torch.inference_mode()
def decode_new_codes(
    models: Models, density: Literal["prior", "gmm"], num_images: int, seed: int
) -> Tensor:
    """Return the VAE's pictures of codes from N(0, I) or the ex-post density, on its device."""
    rng = generator(seed, "generate", density)
    if density == "gmm":
        codes = models.mixture.sample(num_images, rng)
    else:
        codes = torch.randn(num_images, *models.vae.latent_shape, generator=rng)
    device = next(models.vae.parameters()).device
    return torch.cat([models.vae.decode(part.to(device)) for part in codes.split(500)])


@torch.inference_mode()
def generate(
    models: Models, config: SamplerConfig, num_images: int, seed: int, log
) -> dict[str, Tensor]:
    """Return num_images images of each way to generate, N x C x H x W in [0,1] on the CPU.

    vae_prior decodes z ~ N(0, I), vae_gmm z from the ex-post density; diffusevae_prior and
    diffusevae_gmm refine exactly those; ddpm starts from noise alone.
    """
    images = {}
    for name in ("prior", "gmm"):
        decoded = decode_new_codes(models, name, num_images, seed)
        images[f"vae_{name}"] = decoded.cpu()
        images[f"diffusevae_{name}"] = sample(
            models.diffusevae,
            config,
            num_images,
            seed + 1,
            decoded,
            progress=log.progress(f"generate diffusevae_{name}"),
        )
    images["ddpm"] = _timed(
        log,
        "ddpm",
        num_images,
        lambda: sample(
            models.ddpm, config, num_images, seed + 1, progress=log.progress("generate ddpm")
        ),
    )
    return images


def record_trajectory(
    models: Models, config: SamplerConfig, test: Split, seed: int
) -> dict[str, Tensor]:
    """Return how test images are denoised: t (k), x_t and x_0 (k x n x C x H x W), x_hat (n x ..).

    x_t is mapped from the range of diffusion to [0,1] for showing; t = -1 is the finished image.
    """
    device = next(models.vae.parameters()).device
    x_hat = reconstruct_all(models.vae, test.images[:TRAJECTORY_IMAGES].to(device))
    moments: list[tuple[int, Tensor, Tensor]] = []

    def keep(t: int, x_t: Tensor, x_0: Tensor) -> None:
        moments.append((t, models.diffusevae.to_unit_range(x_t).cpu(), x_0.cpu()))

    whole = dataclasses.replace(config, batch_size=len(x_hat))  # one batch: one story
    sample(models.diffusevae, whole, len(x_hat), seed, x_hat, callback=keep)
    chosen = torch.linspace(0, len(moments) - 1, min(TRAJECTORY_MOMENTS, len(moments))).round()
    kept = [moments[int(i)] for i in chosen]
    return {
        "t": torch.tensor([t for t, _, _ in kept]),
        "x_t": torch.stack([x_t for _, x_t, _ in kept]),
        "x_0": torch.stack([x_0 for _, _, x_0 in kept]),
        "x_hat": x_hat.cpu(),
    }


def draw_snapshot(
    models: Models, name: str, config: SamplerConfig, test: Split, seed: int
) -> dict[str, Tensor]:
    """Return a model's first samples, n x C x H x W in [0,1], from the same noise for every model.

    Those of "diffusevae" come with the real test images and the x_hat that it refines.
    """
    if name == "ddpm":
        return {"samples": sample(models.ddpm, config, SNAPSHOT_IMAGES, seed)}
    images = test.images[:SNAPSHOT_IMAGES].to(next(models.vae.parameters()).device)
    x_hat = reconstruct_all(models.vae, images)
    return {
        "samples": sample(models.diffusevae, config, len(images), seed, x_hat),
        "x_hat": x_hat,
        "real": to_unit(images),
    }


def _timed(log, name: str, num_images: int, make: Callable[[], Tensor]) -> Tensor:
    """Return what `make` makes and record its seconds per image."""
    start = time.monotonic()
    images = make()
    if images.is_cuda:
        torch.cuda.synchronize()
    log.timing(f"{name}_seconds_per_image", (time.monotonic() - start) / num_images)
    return images
