"""Codes in, images out: what a page needs to let a person play with the latents of a model.

The files are those of a version in the registry (tasks.registry.latents).
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.png import GENERATED
from diffusevae.core.readback import read_as
from diffusevae.core.tensor_file import load_tensors, sha256_of
from diffusevae.data.dataset import to_unit
from diffusevae.latents.measures.traversals import REACH
from diffusevae.latents.models.beta_vae import VectorVAE, load_vector_vae
from diffusevae.latents.page.cards import Card, read_cards
from diffusevae.models.diffusion import DiffusionModel, check_pair, load_diffusion
from diffusevae.models.vae import VAE, load_vae
from diffusevae.sampling.sampler_config import SamplerConfig, check_guidance
from diffusevae.sampling.samplers import sample

FILES = {
    "latents": "latents.safetensors",
    "cards": "cards.csv",
    "vae": "vae.safetensors",
    "diffusevae": "diffusevae.safetensors",
    "sampler": "sampler.json",
    "images": "images.safetensors",
}
WEIGHTS = ("latents", "vae", "diffusevae")
SEED = 0  # of the refinement's noise: the same code gives the same picture
STRIP = 9  # images from one code to another
LARGEST_DRAWING = 1024  # pixels a side


@dataclass(frozen=True, eq=False)
class Explorer:
    """A model with latents, what they mean, a DiffuseVAE that refines, and test images.

    images uint8 N x C x H x W; made_by: who made a picture, for its metadata.
    """

    model: VectorVAE
    cards: Sequence[Card]
    vae: VAE
    diffusevae: DiffusionModel
    sampler: SamplerConfig
    images: Tensor
    made_by: Mapping[str, str]

    @property
    def latents(self) -> int:
        """How many numbers a code has."""
        return self.model.config.latents

    @torch.inference_mode()
    def encode(self, x: Tensor) -> list[float]:
        """Return the code of an image, C x H x W in [0, 1], each number kept within -3 to 3."""
        return self.model.encode(x[None])[0][0].clamp(-REACH, REACH).tolist()

    def encode_test_image(self, index: int) -> list[float]:
        """Return the code of a test image. Raises InputError where there is no such image."""
        if not 0 <= index < len(self.images):
            raise InputError(
                f"test image {index}: there are the images 0 to {len(self.images) - 1}"
            )
        return self.encode(to_unit(self.images[index]))

    @torch.inference_mode()
    def decode(self, codes: Sequence[Sequence[float]]) -> Tensor:
        """Return images, B x C x H x W in [0, 1]. Raises InputError for codes of another size."""
        for code in codes:
            if len(code) != self.latents:
                raise InputError(f"a code of {len(code)} numbers: this model's have {self.latents}")
        return self.model.decode(torch.tensor(codes, dtype=torch.float32))

    @torch.inference_mode()
    def refine(self, images: Tensor) -> Tensor:
        """Return what DiffuseVAE makes of images, B x C x H x W in [0, 1].

        As everywhere, it refines its own VAE's reconstruction of them.
        """
        x_hat = self.vae.reconstruct(images)
        return sample(self.diffusevae, self.sampler, len(images), SEED, x_hat)

    def move(self, code: Sequence[float], latent: int, value: float) -> list[float]:
        """Return the code with one latent set. Raises InputError where there is none or no room."""
        if not 0 <= latent < self.latents:
            raise InputError(f"latent {latent}: this model has the latents 0 to {self.latents - 1}")
        if not -REACH <= value <= REACH:
            raise InputError(
                f"latent {latent}: {value:g} is out of range; allowed {-REACH:g} to {REACH:g}"
            )
        return [*code[:latent], value, *code[latent + 1 :]]

    def describe(self, codes: Sequence[Sequence[float]], refined: bool) -> dict[str, str]:
        """Return the metadata of a picture of images decoded from these codes."""
        steps = f"{self.sampler.sampler}, {self.sampler.num_steps} steps, seed {SEED}"
        rounded = [[round(number, 4) for number in code] for code in codes]
        return {
            **GENERATED,
            "Software": "DiffuseVAE, make explore",
            "Process": f"decoded by a beta-VAE, refined by DiffuseVAE ({steps})"
            if refined
            else "decoded by a beta-VAE",
            "Code": json.dumps(rounded[0] if len(rounded) == 1 else rounded),
            **self.made_by,
        }


def load_explorer(folder: Path, made_by: Mapping[str, str]) -> Explorer:
    """Return the explorer whose FILES lie in a folder.

    The weights' SHA-256 are added to `made_by`. Raises InputError for a file that is none, where
    the files do not belong together, or where the sampler asks for guidance that DiffuseVAE lacks.
    """
    paths = {name: folder / file for name, file in FILES.items()}
    check_pair(paths["diffusevae"], sha256_of(paths["vae"]))
    model, vae = load_vector_vae(paths["latents"]), load_vae(paths["vae"])
    images = load_tensors(paths["images"])["images"]
    if not model.shape == tuple(vae.image_shape) == tuple(images.shape[1:]):
        raise InputError(
            f"{folder}: images of {_times(model.shape)} have the latents, but the VAE "
            f"is for {_times(vae.image_shape)} and test images are "
            f"{_times(images.shape[1:])}; use an experiment on the same images"
        )
    sampler = read_as(SamplerConfig, paths["sampler"], "write it again with the registered model")
    diffusevae = load_diffusion(paths["diffusevae"])
    check_guidance(sampler, diffusevae.p_uncond)
    hashes = {f"SHA-256 of {name}": sha256_of(paths[name]) for name in WEIGHTS}
    return Explorer(
        model,
        read_cards(paths["cards"], model.config.latents),
        vae,
        diffusevae,
        sampler,
        images,
        dict(made_by) | hashes,
    )


def interpolate(start: Sequence[float], end: Sequence[float], share: float) -> list[float]:
    """Return the code at a share of the straight line from one code (0) to another (1)."""
    return [a + share * (b - a) for a, b in zip(start, end, strict=True)]


def interpolate_evenly(start: Sequence[float], end: Sequence[float]) -> list[list[float]]:
    """Return STRIP codes from one to another, both included."""
    return [interpolate(start, end, i / (STRIP - 1)) for i in range(STRIP)]


def read_drawing(png: bytes, shape: Sequence[int]) -> Tensor:
    """Return a drawing, white on black, as an image of `shape` (C x H x W) in [0, 1].

    Each pixel is the mean of those that it replaces. Raises InputError for a drawing that is not
    a multiple of the image's size, or empty.
    """
    from PIL import Image

    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as opened:
            size = opened.size
            fits = size[0] * height == size[1] * width and not (size[0] % width or size[1] % height)
            if not fits or max(size) > LARGEST_DRAWING:
                raise InputError(
                    f"a drawing of {size[0]} x {size[1]} pixels: expected {width} x "
                    f"{height}, or a multiple of it up to {LARGEST_DRAWING} pixels"
                )
            pixels = torch.from_numpy(np.array(opened.convert("L")))
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(
            f"the drawing: cannot be read as a PNG image ({error}); draw it again"
        ) from error
    if not pixels.any():
        raise InputError("the drawing: is empty; draw something in white")
    image = F.adaptive_avg_pool2d(to_unit(pixels)[None, None], (height, width))[0]  # 1 x H x W
    return image.expand(channels, -1, -1)


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
