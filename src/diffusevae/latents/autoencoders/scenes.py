"""Images with the mask of what is to be found in them: digits among clutter, nuclei.

Cluttered digits are made as by Mnih et al., "Recurrent models of visual attention" (2014); the
nuclei are one image of a microscope (BBBC038).
"""

from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from diffusevae.core.errors import InputError
from diffusevae.data.dataset import to_unit

FILES = ("dsb2018_img2d.tif", "dsb2018_mask2d.tif")
INSIDE = 0.5  # a digit's pixels are those above
CLUTTER_SIDE = 8  # pixels of a piece of another digit
Masks = tuple[Tensor, Tensor]  # images and masks, N x 1 x H x W in [0, 1]


def hide_digits(images: Tensor, num_clutter: int, noise: float, rng: Generator) -> Masks:
    """Return digits among pieces of other digits and noise, and the mask of the digit.

    images: uint8 N x 1 x H x W, on the CPU. Each gets `num_clutter` squares of 8 x 8 pixels, cut
    from random images and put where it is brightest pixel by pixel, then N(0, noise^2), clipped.
    """
    digits = to_unit(images)
    count, _, height, width = digits.shape
    scene = digits.clone()
    offsets = torch.arange(CLUTTER_SIDE)
    every = torch.arange(count)[:, None, None]

    def place(length: int) -> Tensor:
        return torch.randint(length - CLUTTER_SIDE + 1, (count, 1, 1), generator=rng)

    for _ in range(num_clutter):
        source = torch.randint(count, (count, 1, 1), generator=rng)
        pieces = digits[source, 0, place(height) + offsets[:, None], place(width) + offsets]
        rows, columns = place(height) + offsets[:, None], place(width) + offsets
        scene[every, 0, rows, columns] = torch.maximum(scene[every, 0, rows, columns], pieces)
    scene += noise * torch.randn(scene.shape, generator=rng)
    return scene.clamp(0, 1), (digits > INSIDE).float()


def read_nuclei(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return a microscope's image and its mask (H x W: grey values; 0 or 1). Raises InputError."""
    from PIL import Image

    arrays = []
    for name in FILES:
        try:
            with Image.open(folder / name) as picture:
                arrays.append(np.array(picture).astype(np.float32))
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(
                f"{folder / name}: cannot be read as an image ({error}); run "
                "dvc repro download@nuclei"
            ) from error
    image, mask = arrays
    if image.ndim != 2 or image.shape != mask.shape:
        raise InputError(
            f"{folder}: the image is {image.shape}, the mask {mask.shape}; both must "
            "be one grey picture of the same size; run dvc repro download@nuclei"
        )
    return image, (mask > 0).astype(np.float32)


def cut_tiles(picture: np.ndarray, side: int) -> Tensor:
    """Return a picture's (H x W) squares side by side, N x 1 x side x side; the rest is cut."""
    height, width = (length // side * side for length in picture.shape)
    squares = torch.from_numpy(picture[:height, :width].copy())
    squares = squares.reshape(height // side, side, width // side, side).transpose(1, 2)
    return squares.reshape(-1, 1, side, side)


def crop_tiles(
    image: np.ndarray, mask: np.ndarray, side: int, count: int, rng: np.random.Generator
) -> Masks:
    """Return random squares, turned and mirrored, and their masks: N x 1 x side x side."""
    squares = []
    for _ in range(count):
        top, left = (int(rng.integers(length - side + 1)) for length in image.shape)
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        pair = np.stack([image, mask])[:, top : top + side, left : left + side]
        pair = np.rot90(pair, turns, (1, 2))
        squares.append(pair[:, :, ::-1] if mirrored else pair)
    found = torch.from_numpy(np.stack(squares).copy())
    return found[:, :1], found[:, 1:]
