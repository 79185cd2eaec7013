"""The control of every claim about refining: the VAE's own pictures, their grey values stretched.

A VAE that is trained briefly paints black a little grey, and SSIM, HistSim and MAE see hardly
anything else. Two numbers mend that; only what DiffuseVAE does beyond them is its own.
"""

from dataclasses import dataclass

from torch import Tensor

from diffusevae.metrics.paired import ssim

BLACKS = tuple(i / 100 for i in range(11))
WHITES = tuple(1 - i / 100 for i in range(11))


@dataclass(frozen=True)
class GreyStretch:
    """The grey values of a VAE, in [0,1], that are shown as quite black and as quite white."""

    black: float
    white: float

    def apply(self, images: Tensor) -> Tensor:
        """Return images (any shape, in [0,1]) stretched, in [0,1]."""
        return ((images - self.black) / (self.white - self.black)).clamp(0, 1)


def fit_stretch(real: Tensor, x_hat: Tensor) -> GreyStretch:
    """Return the stretch of x_hat with the greatest mean SSIM to the real images.

    real and x_hat: N x C x H x W in [0,1], validation images and their reconstructions. Black and
    white are chosen one after the other, to a hundredth: each hardly changes what is best for the
    other. Nothing changed is one of the choices.
    """

    def score(stretch: GreyStretch) -> float:
        return float(ssim(real, stretch.apply(x_hat)).double().mean())

    blackest = max((GreyStretch(black, 1.0) for black in BLACKS), key=score)
    return max((GreyStretch(blackest.black, white) for white in WHITES), key=score)
