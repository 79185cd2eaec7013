"""dSprites: white shapes on black, one image for every combination of five known factors.

Matthey et al., "dSprites: Disentanglement testing Sprites dataset" (2017). The images come from
the original file, or are drawn here as they are wanted: from the geometry in dsprites.json, which
was measured on 100 of the true images. What the measuring cannot tell is where the original's
orientation begins and which way it turns; neither matters to a study of factors.
"""

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import Range
from diffusevae.core.readback import read_as

SHAPES = ("square", "ellipse", "heart")
FACTORS = ("shape", "scale", "orientation", "x", "y")
GRID = (3, 6, 40, 32, 32)  # values of each factor in dSprites: 737,280 images
SIDE = 64  # pixels
ARRAYS = ("imgs", "latents_classes")  # of the original file
AT_ONCE = 2048  # images drawn together
REACH = 16  # pixels from its place within which a shape lies at scale 1, corners included


class Sprites(Protocol):
    """A grid of images, one for each combination of the values of FACTORS."""

    @property
    def values(self) -> tuple[int, ...]:
        """How many values each factor has."""

    def draw(self, numbers: Tensor) -> Tensor:
        """Return the images of those numbers in the grid, 0 or 1: n x 64 x 64, uint8."""


def number_images(values: Sequence[int]) -> int:
    """Return how many images the grid has."""
    return math.prod(values)


def factors_of(values: Sequence[int], numbers: Tensor) -> Tensor:
    """Return each factor's value (counted from 0) of images by their number: n x 5.

    The last factor changes fastest, as in the original file.
    """
    columns = []
    for count in reversed(values):
        columns.append(numbers % count)
        numbers = numbers // count
    return torch.stack(columns[::-1], 1)


def draw_images(sprites: Sprites, numbers: Tensor, size: int) -> Tensor:
    """Return images as uint8, n x 1 x size x size; `size` divides 64, its pixels are averages."""
    parts = []
    for part in numbers.split(AT_ONCE):
        images = sprites.draw(part)[:, None]
        if size < SIDE:
            images = F.avg_pool2d(images.float(), SIDE // size)
        parts.append((images * 255).round().byte())
    return torch.cat(parts)


def targets_of(values: Sequence[int], factors: Tensor) -> list[Tensor]:
    """Return each factor (column of `factors`) as numbers whose distances mean something: n x m.

    The shape is a number for each shape. The orientation is a point on a circle, and on those run
    through twice and four times: ellipse and square look the same after a half and a quarter turn.
    """
    shape = F.one_hot(factors[:, 0], values[0]).double()
    scale, orientation, x, y = factors[:, 1:].double().T[:, :, None]  # each n x 1
    angle = 2 * math.pi * orientation / max(1, values[2] - 1)  # the first and the last coincide
    circles = torch.cat([turns * angle for turns in (1, 2, 4)], 1)
    return [shape, scale, torch.cat([circles.cos(), circles.sin()], 1), x, y]


@dataclass(frozen=True)
class Square:
    """Half its side, in pixels at scale 1."""

    half_side: Annotated[float, Range(0.1, 11)]


@dataclass(frozen=True)
class Ellipse:
    """Its semi-axes, in pixels at scale 1."""

    semi_axis_x: Annotated[float, Range(0.1, REACH)]
    semi_axis_y: Annotated[float, Range(0.1, REACH)]


@dataclass(frozen=True)
class Heart:
    """Its outline around `origin` (x, y): radii at equal steps of the angle from -pi to pi."""

    origin: tuple[Annotated[float, Range(-2.8, 2.8)], ...]
    radii: tuple[Annotated[float, Range(0.1, 12)], ...]

    def __post_init__(self) -> None:
        if len(self.origin) != 2 or not self.radii:
            raise ValueError(
                f"expected an origin of 2 numbers and one or more radii, found "
                f"{len(self.origin)} and {len(self.radii)}"
            )


@dataclass(frozen=True)
class DrawnSprites:
    """Sprites drawn from the geometry of their three shapes, on the full grid of dSprites."""

    about: str
    square: Square
    ellipse: Ellipse
    heart: Heart

    @property
    def values(self) -> tuple[int, ...]:
        """How many values each factor has."""
        return GRID

    def draw(self, numbers: Tensor) -> Tensor:
        """Return images, n x 64 x 64, uint8: a pixel is 1 where its centre lies in the shape."""
        shape, scale, orientation, x, y = factors_of(GRID, numbers).T
        scale = 0.5 + 0.5 * scale[:, None, None] / (GRID[1] - 1)
        angle = 2 * math.pi * orientation[:, None, None] / (GRID[2] - 1)  # first and last coincide
        x, y = 16 + 32 * x / (GRID[3] - 1), 16 + 32 * y / (GRID[4] - 1)
        # Only the pixels that the shape can reach: n x 1 x 32 columns, n x 32 x 1 rows.
        near = torch.arange(-REACH, REACH)
        columns, rows = x.long()[:, None, None] + near, y.long()[:, None, None] + near[:, None]
        dx, dy = (columns + 0.5 - x[:, None, None]) / scale, (rows + 0.5 - y[:, None, None]) / scale
        # Their centres in the frame of the shape, n x 32 x 32.
        u, v = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()
        inside = torch.empty(u.shape, dtype=torch.bool)
        for kind, lies_in in enumerate((self._in_square, self._in_ellipse, self._in_heart)):
            own = shape == kind
            inside[own] = lies_in(u[own], v[own])
        images = torch.zeros(len(numbers), SIDE, SIDE, dtype=torch.uint8)
        images[torch.arange(len(numbers))[:, None, None], rows, columns] = inside.byte()
        return images

    def _in_square(self, u: Tensor, v: Tensor) -> Tensor:
        return torch.maximum(u.abs(), v.abs()) <= self.square.half_side

    def _in_ellipse(self, u: Tensor, v: Tensor) -> Tensor:
        return (u / self.ellipse.semi_axis_x) ** 2 + (v / self.ellipse.semi_axis_y) ** 2 <= 1

    def _in_heart(self, u: Tensor, v: Tensor) -> Tensor:
        u, v = u - self.heart.origin[0], v - self.heart.origin[1]
        radii = torch.tensor(self.heart.radii)
        sector = ((torch.atan2(v, u) / math.pi + 1) / 2 * len(radii)).long()
        return torch.hypot(u, v) <= radii[sector.clamp(max=len(radii) - 1)]


@dataclass(frozen=True, eq=False)
class FiledSprites:
    """Sprites of the original file: images n x 64 x 64 (uint8) in the order of the grid."""

    values: tuple[int, ...]
    images: np.ndarray

    def draw(self, numbers: Tensor) -> Tensor:
        """Return the images of those numbers in the grid, 0 or 1: n x 64 x 64, uint8."""
        return torch.from_numpy(self.images[numbers.numpy()])


def read_sprites(source: Path) -> Sprites:
    """Return the sprites of a geometry (.json) or of the original file (.npz; 3 GB of memory).

    Raises InputError.
    """
    if source.suffix == ".json":
        return _read_geometry(source)
    if source.suffix == ".npz":
        return _read_original(source)
    raise InputError(
        f"{source}: not a source of sprites; name a geometry such as "
        "src/diffusevae/latents/sprites/dsprites.json or dSprites' original .npz file"
    )


def _read_geometry(path: Path) -> DrawnSprites:
    return read_as(DrawnSprites, path, "give src/diffusevae/latents/sprites/dsprites.json")


def _read_original(path: Path) -> FiledSprites:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, classes = (arrays[name] for name in ARRAYS)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _not_original(path, f"cannot be read ({error})") from error
    right = images.dtype == np.uint8 and images.shape[1:] == (SIDE, SIDE) and len(images)
    if not right or images.max() > 1:
        raise _not_original(
            path,
            f"imgs are {images.dtype} {list(images.shape)}, expected 0 and "
            f"1 as uint8 [N, {SIDE}, {SIDE}]",
        )
    # The first column is the colour, of which there is one.
    if classes.shape != (len(images), 1 + len(FACTORS)) or classes.dtype.kind not in "iu":
        raise _not_original(
            path,
            f"latents_classes are {classes.dtype} {list(classes.shape)}, "
            f"expected whole numbers [{len(images)}, {1 + len(FACTORS)}]",
        )
    classes = torch.from_numpy(classes[:, 1:].astype(np.int64))
    values = tuple((classes.amax(0) + 1).tolist())
    grid = factors_of(values, torch.arange(len(images)))
    if number_images(values) != len(images) or not torch.equal(grid, classes):
        raise _not_original(
            path,
            "latents_classes are not every combination of the factors once, "
            "the last changing fastest",
        )
    return FiledSprites(values, images)


def _not_original(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: {reason}; give dsprites_ndarray_co1sh3sc6ori40x32x32_64x64.npz as "
        "its authors publish it, or src/diffusevae/latents/sprites/dsprites.json"
    )
