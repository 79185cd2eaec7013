"""How thick, slanted, wide and large the ink of an image is, from the grey values themselves.

No threshold and no skeleton: each is a smooth function of the pixels, so a small change of a latent
is a small change here. Images are B x 1 x H x W in [0, 1] with bright ink on black.
"""

import torch
from torch import Tensor

SHAPES = ("thickness", "slant", "width", "area")
UNITS = {"thickness": "pixels", "slant": "degrees", "width": "pixels", "area": "pixels"}
TINY = 1e-6  # of ink: a blank image has no shape, and gets zeros


def measure_shapes(images: Tensor) -> dict[str, Tensor]:
    """Return each of SHAPES, B float64 values.

    area: the sum of the ink. thickness: 2 area / perimeter, which is w for a long stroke of width
    w; the perimeter is the total variation (coarea formula). slant: the angle of the shear
    mu_11 / mu_02 by central moments, positive for ink that leans to the right (Morpho-MNIST, Castro
    et al., 2019). width: that of the rectangle with the horizontal spread that is left when the
    shear is taken out, sqrt(12 (mu_20 - mu_11^2 / mu_02)).
    """
    ink = images.double().mean(1)
    area = ink.sum((1, 2))
    mass = area.clamp(min=TINY)
    y, x = (
        torch.arange(length, dtype=torch.float64, device=ink.device) for length in ink.shape[1:]
    )
    mean_x, mean_y = (ink.sum(1) * x).sum(1) / mass, (ink.sum(2) * y).sum(1) / mass
    from_x, from_y = x - mean_x[:, None], y - mean_y[:, None]
    mu_20 = (ink.sum(1) * from_x**2).sum(1) / mass
    mu_02 = (ink.sum(2) * from_y**2).sum(1) / mass
    mu_11 = torch.einsum("byx,by,bx->b", ink, from_y, from_x) / mass
    shear = mu_11 / mu_02.clamp(min=TINY)
    spread = (mu_20 - mu_11 * shear).clamp(min=0)
    return {
        "thickness": 2 * area / measure_perimeter(ink).clamp(min=TINY),
        "slant": torch.rad2deg(torch.atan(-shear)),  # rows count downwards
        "width": (12 * spread).sqrt(),
        "area": area,
    }


def measure_perimeter(ink: Tensor) -> Tensor:
    """Return the total variation of images B x H x W on a black ground: B."""
    framed = torch.nn.functional.pad(ink, (1, 1, 1, 1))
    down = framed[:, 1:, :-1] - framed[:, :-1, :-1]
    right = framed[:, :-1, 1:] - framed[:, :-1, :-1]
    return (down**2 + right**2).sqrt().sum((1, 2))
