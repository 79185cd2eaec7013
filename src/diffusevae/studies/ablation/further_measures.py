"""What a variant is measured by where that is asked for: how straight its paths are, and bits."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.data.dataset import Split, to_unit
from diffusevae.metrics.bound import measure_bound
from diffusevae.metrics.straightness import straightness
from diffusevae.models.diffusion import DiffusionModel
from diffusevae.models.vae import VAE
from diffusevae.models.vae_losses import kl_divergence, reparameterise
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.sampling.samplers import sample

PATHS = 64  # that are followed
BOUND_TIMES = 100  # of the chain
STRAIGHTNESS, BITS = "straightness", "bits_per_dim"
FURTHER = {STRAIGHTNESS: "Straightness of paths", BITS: "Bits per dimension"}  # lower is better


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Images with codes drawn from q(z | x), for whom alone the bound holds.

    images: uint8 N x C x H x W with their labels, N; x_hat and code: of those z, as variants are
    given them; code_bits: KL(q(z | x) || N(0, I)) in bits per dimension of the image, N.
    """

    images: Tensor
    labels: Tensor
    x_hat: Tensor
    code: Tensor
    code_bits: Tensor


def check_bound(bound_images: int, kind: str) -> None:
    """Raise InputError where bits are asked for of a first stage that has no q(z | x)."""
    if bound_images and kind != "gaussian":
        raise InputError(
            f"ablate.bound_images {bound_images}: vae.kind {kind} draws no code, so there is no "
            "bound; set it to 0"
        )


@torch.inference_mode()
def draw_codes(vae: VAE, split: Split, seed: int) -> EncodedImages:
    """Return a split's images with codes drawn for them, on the VAE's device; see `check_bound`."""
    images = split.images
    check_bound(len(images), vae.config.kind)
    mu, logvar = vae.encode(to_unit(images))
    eps = torch.randn(mu.shape, generator=generator(seed, "ablate", "codes")).to(mu.device)
    z = reparameterise(mu, logvar, eps)
    bits = kl_divergence(mu, logvar).double().cpu() / images[0].numel() / torch.tensor(2.0).log()
    return EncodedImages(images, split.labels, vae.decode(z), z, bits)


def measure_bits(
    model: DiffusionModel, condition: Tensor | None, drawn: EncodedImages, told: bool, seed: int
) -> dict[str, float]:
    """Return the mean bits per dimension, and of what they consist; told: whether of the classes.

    -log p(x) <= KL(q(z | x) || p(z)) - log p(c) + the bound of p(x | z, c), c the image's own one
    of equally probable classes; a model that is not told the code, or the class, lacks that term.
    """
    labels = drawn.labels if told else None
    terms = measure_bound(model, drawn.images, condition, seed, BOUND_TIMES, labels)
    if told:
        nats = torch.tensor(model.unet.num_classes).double().log()
        terms = {"class": nats / torch.tensor(2.0).log() / drawn.images[0].numel()} | terms
    if condition is not None:
        terms = {"code": drawn.code_bits} | terms
    means = {f"{name}_bits": float(values.mean()) for name, values in terms.items()}
    return {BITS: sum(means.values())} | means


def measure_paths(
    model: DiffusionModel,
    sampler: SamplerConfig,
    condition: Tensor | None,
    labels: Tensor | None,
    num_steps: int,
    seed: int,
) -> dict[str, float]:
    """Return how straight the paths of Euler's method are, on the way to PATHS images."""
    euler = dataclasses.replace(
        sampler, sampler="ddim", eta=0.0, spacing="trailing", num_steps=num_steps, batch_size=PATHS
    )
    alpha_bars = [*model.schedule.alpha_bars.tolist(), 1.0]  # the last one is that of t = -1
    points, u = [], []

    def see(t: int, x_t: Tensor, x_0: Tensor) -> None:
        a, s = alpha_bars[t] ** 0.5, (1 - alpha_bars[t]) ** 0.5
        points.append(x_t / (a + s))
        u.append(s / (a + s))

    given = [each if each is None else each[:PATHS] for each in (condition, labels)]
    count = min([PATHS, *(len(each) for each in given if each is not None)])
    sample(model, euler, count, seed, given[0], callback=see, labels=given[1])
    return {STRAIGHTNESS: float(straightness(torch.stack(points), u).mean())}
