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
from diffusevae.core.stage_log import StageLog
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import Split, in_batches, to_unit
from diffusevae.models.diffusion import DiffusionModel, check_pair, load_diffusion
from diffusevae.models.latent_mixture import Mixture, load_mixture
from diffusevae.models.vae import VAE, load_vae, reconstruct_all
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.sampling.samplers import sample

SNAPSHOT_IMAGES = 20
TRAJECTORY_IMAGES = 8
TRAJECTORY_MOMENTS = 9  # noise, seven between, the finished image
Density = Literal["prior", "gmm"]  # of new codes: N(0, I), or the mixture


@dataclass(frozen=True)
class SampleConfig:
    """num_images: the first test images, refined; num_generated: images made by each model."""

    num_images: PositiveCount
    num_generated: PositiveCount


@dataclass(frozen=True, eq=False)
class Pair:
    """A frozen VAE, the mixture over its codes, and the DiffuseVAE that was trained on it."""

    vae: VAE
    mixture: Mixture
    diffusevae: DiffusionModel

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.vae.parameters()).device


@dataclass(frozen=True, eq=False)
class Models(Pair):
    """What an experiment trains: the pair, and the DDPM beside it."""

    ddpm: DiffusionModel


def load_pair(vae: Path, mixture: Path, diffusevae: Path, device: torch.device) -> Pair:
    """Return the models of three files.

    Raises InputError where one cannot be read, or DiffuseVAE was trained on another VAE.
    """
    check_pair(diffusevae, sha256_of(vae))
    return Pair(load_vae(vae, device), load_mixture(mixture), load_diffusion(diffusevae, device))


def load_models(
    train_vae: Path, train_ddpm: Path, train_diffusevae: Path, device: torch.device
) -> Models:
    """Return the models in the output folders of their stages; raises as `load_pair` does."""
    weights = "model.safetensors"
    mixture = train_vae / "prior.safetensors"
    pair = load_pair(train_vae / weights, mixture, train_diffusevae / weights, device)
    ddpm = load_diffusion(train_ddpm / weights, device)
    return Models(pair.vae, pair.mixture, pair.diffusevae, ddpm)


def refine(
    pair: Pair, config: SamplerConfig, images: Tensor, seed: int, log: StageLog | None = None
) -> tuple[Tensor, Tensor]:
    """Return the VAE's reconstructions of images, and them refined: N x C x H x W, on the CPU.

    The images are uint8, or float32 in [0,1], as what is returned. Measures seconds_per_image of
    the reconstruction and of the refinement, the reconstruction not included.
    """
    x_hat = _timed(log, "vae", lambda: reconstruct_all(pair.vae, images))
    shown = None if log is None else log.progress("refine")
    refined = _timed(
        log,
        "diffusevae",
        lambda: sample(pair.diffusevae, config, len(x_hat), seed, x_hat, progress=shown),
    )
    return x_hat.cpu(), refined


def generate(
    pair: Pair,
    config: SamplerConfig,
    density: Density,
    num_images: int,
    seed: int,
    log: StageLog | None = None,
    labels: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the VAE's pictures of new codes, and them refined: N x C x H x W in [0,1], CPU.

    labels (N): the classes to make, each its code's. Without, the mixture draws them where it knows
    classes. Raises InputError for classes that it does not know.
    """
    if labels is None:
        labels = draw_labels(pair, density, num_images, seed)
    decoded = decode_new_codes(pair, density, num_images, seed, labels)
    shown = None if log is None else log.progress(f"generate diffusevae_{density}")
    made = sample_new(pair.diffusevae, config, num_images, seed, decoded, shown, labels)
    return decoded.cpu(), made


def draw_labels(pair: Pair, density: Density, num_images: int, seed: int) -> Tensor | None:
    """Return the classes of new codes, None where the density knows none."""
    rng = generator(seed, "labels")
    return pair.mixture.draw_labels(num_images, rng) if density == "gmm" else None


@torch.inference_mode()
def decode_new_codes(
    pair: Pair, density: Density, num_images: int, seed: int, labels: Tensor | None = None
) -> Tensor:
    """Return the VAE's pictures of codes from N(0, I) or the mixture, on its device."""
    rng = generator(seed, "generate", density)
    if density == "gmm":
        codes = pair.mixture.sample(num_images, rng, labels)
    else:
        codes = torch.randn(num_images, *pair.vae.latent_shape, generator=rng)
    parts = in_batches(codes, pair.vae.image_shape)
    return torch.cat([pair.vae.decode(part.to(pair.device)) for part in parts])


def sample_new(
    model: DiffusionModel,
    config: SamplerConfig,
    num_images: int,
    seed: int,
    condition: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
    labels: Tensor | None = None,
) -> Tensor:
    """Return new images as `sample` does, from other noise than that of refinements.

    Labels are told to a model that knows classes.
    """
    told = labels if model.unet.num_classes else None
    return sample(model, config, num_images, seed + 1, condition, progress=progress, labels=told)


def refine_test_images(
    models: Models, config: SamplerConfig, test: Split, num_images: int, seed: int, log: StageLog
) -> dict[str, Tensor]:
    """Return real, vae and diffusevae (N x C x H x W in [0,1], CPU) and labels of test images.

    Raises InputError where there are too few test images.
    """
    if num_images > len(test.images):
        raise InputError(
            f"sample.num_images {num_images}: there are only {len(test.images)} test "
            "images; use at most as many"
        )
    images = test.images[:num_images]
    x_hat, refined = refine(models, config, images, seed, log)
    return {
        "real": to_unit(images),
        "vae": x_hat,
        "diffusevae": refined,
        "labels": test.labels[:num_images],
    }


def generate_all_ways(
    models: Models, config: SamplerConfig, num_images: int, seed: int, log: StageLog
) -> dict[str, Tensor]:
    """Return num_images images of each way to generate, N x C x H x W in [0,1] on the CPU.

    vae_prior decodes z ~ N(0, I), vae_gmm z from the mixture; diffusevae_prior and diffusevae_gmm
    refine exactly those; ddpm starts from noise alone. Models that know classes are told those that
    the mixture draws.
    """
    images: dict[str, Tensor] = {}
    densities: tuple[Density, ...] = ("prior", "gmm")
    for name in densities:
        decoded, refined = generate(models, config, name, num_images, seed, log)
        images |= {f"vae_{name}": decoded, f"diffusevae_{name}": refined}
    shown = log.progress("generate ddpm")
    labels = draw_labels(models, "gmm", num_images, seed)
    images["ddpm"] = _timed(
        log,
        "ddpm",
        lambda: sample_new(models.ddpm, config, num_images, seed, progress=shown, labels=labels),
    )
    return images


def record_trajectory(
    models: Models, config: SamplerConfig, test: Split, seed: int
) -> dict[str, Tensor]:
    """Return how test images are denoised: t (k), x_t and x_0 (k x n x C x H x W), x_hat (n x ..).

    x_t is mapped from the range of diffusion to [0,1] for showing; t = -1 is the finished image.
    """
    x_hat = reconstruct_all(models.vae, test.images[:TRAJECTORY_IMAGES])
    moments: list[tuple[int, Tensor, Tensor]] = []  # on the device: no step waits for a copy

    def keep(t: int, x_t: Tensor, x_0: Tensor) -> None:
        moments.append((t, models.diffusevae.to_unit_range(x_t), x_0))

    whole = dataclasses.replace(config, batch_size=len(x_hat))  # one batch: one story
    sample(models.diffusevae, whole, len(x_hat), seed, x_hat, callback=keep)
    chosen = torch.linspace(0, len(moments) - 1, min(TRAJECTORY_MOMENTS, len(moments))).round()
    kept = [moments[int(i)] for i in chosen]
    return {
        "t": torch.tensor([t for t, _, _ in kept]),
        "x_t": torch.stack([x_t for _, x_t, _ in kept]).cpu(),
        "x_0": torch.stack([x_0 for _, _, x_0 in kept]).cpu(),
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
    images = test.images[:SNAPSHOT_IMAGES]
    x_hat, refined = refine(models, config, images, seed)
    return {"samples": refined, "x_hat": x_hat, "real": to_unit(images)}


def _timed(log: StageLog | None, name: str, make: Callable[[], Tensor]) -> Tensor:
    """Return what `make` makes and tell the log its seconds per image."""
    start = time.monotonic()
    images = make()
    if images.is_cuda:
        torch.cuda.synchronize()
    if log is not None:
        log.timing(f"{name}_seconds_per_image", (time.monotonic() - start) / len(images))
    return images
