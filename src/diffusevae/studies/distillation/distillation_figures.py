"""New images of the same codes and noise, in ever fewer steps."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.figures.drawing import COLOURS, Strip, draw_strips


def draw_steps(shown: Mapping[str, Tensor]) -> Figure:
    """Return a strip of images for each title, n x C x H x W in [0, 1]."""
    strips = [Strip(title, images, COLOURS["diffusevae"]) for title, images in shown.items()]
    return draw_strips(strips, len(strips[0].images))
