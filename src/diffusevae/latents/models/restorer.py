"""The autoencoder that restores images: what denoising and super-resolution train."""

from collections.abc import Sequence

from torch import Tensor, nn


class Restorer(nn.Module):
    """Maps damaged images (B x C x H x W) to restored ones.

    An autoencoder whose code keeps its place: channels[-1] numbers for each spot of a grid that is
    halved len(channels) - 1 times. It has no connections past the code. Nothing bounds its output
    in training: a sigmoid dies on images that are mostly black.
    """

    def __init__(self, channels: Sequence[int], image_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(image_channels, channels[0], 3, padding=1), nn.ReLU()]
        for before, after in zip(channels, channels[1:], strict=False):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
        for before, after in zip(channels[::-1], channels[-2::-1], strict=False):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[0], image_channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def restore(self, x: Tensor) -> Tensor:
        """Return restored images in [0, 1]."""
        return self(x).clamp(0, 1)
