"""The geometry of the sprites, and files like dSprites' own."""

from pathlib import Path

import numpy as np
import torch

import diffusevae.latents.sprites
from diffusevae.latents.sprites.dsprites import factors_of, number_images

GEOMETRY = Path(diffusevae.latents.sprites.__file__).with_name("dsprites.json")


def write_original(path: Path, values: tuple[int, ...], **changes: np.ndarray) -> np.ndarray:
    """Write a small grid as dSprites' file has it; return its images."""
    count = number_images(values)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (count, 64, 64), dtype=np.uint8)
    factors = factors_of(values, torch.arange(count)).numpy()
    classes = np.concatenate([np.zeros((count, 1), np.int64), factors], 1)
    np.savez(path, **({"imgs": images, "latents_classes": classes} | changes))
    return images
