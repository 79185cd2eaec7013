"""Nuclei for tests."""

import numpy as np
from PIL import Image

from diffusevae.latents.autoencoders.scenes import FILES


def write_nuclei(folder, image, mask):
    folder.mkdir(exist_ok=True)
    for name, pixels in zip(FILES, (image, mask), strict=True):
        Image.fromarray(pixels.astype(np.uint16)).save(folder / name)
