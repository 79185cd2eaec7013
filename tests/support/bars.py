"""Images of one bar."""

import torch


def bar(top: int, left: int, height: int, width: int) -> torch.Tensor:
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, top : top + height, left : left + width] = 1
    return image
