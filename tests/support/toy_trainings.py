"""What a training of a few numbers needs."""

import torch
from torch import nn

from diffusevae.training.loop import OptimiserConfig


def make_optimiser(**changes) -> OptimiserConfig:
    """Return an optimiser for 4 images at a time, its weights not averaged."""
    values = dict(
        learning_rate=0.05,
        learning_rate_decay="none",
        batch_size=4,
        gradient_clip_norm=1.0,
        ema_decay=0.0,
    )
    return OptimiserConfig(**(values | changes))


class Scalar(nn.Module):
    """A model of one number, `value`."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor([value]))
