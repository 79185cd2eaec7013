"""Measured spectra changed at random, so that a model sees more than there are."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from diffusevae.core.params import Range, Share


@dataclass(frozen=True)
class AugmentationConfig:
    """How a training spectrum is changed before the model sees it, each time anew.

    Of both what the encoder sees and what the decoder should draw: mix is how often a spectrum is
    mixed with another one of its mineral, max_shift the farthest move along the axis in channels,
    max_gain the most by which the intensities shrink. Of what the encoder sees alone: max_baseline
    is the greatest height of either end of a sloping baseline, max_noise the greatest standard
    deviation of white noise. Intensities count in the strongest line of a spectrum.
    """

    mix: Share
    max_shift: Annotated[int, Range(0, 100)]
    max_gain: Share
    max_baseline: Annotated[float, Range(0, 10)]
    max_noise: Annotated[float, Range(0, 10)]


def augment(
    x: Tensor, labels: Tensor, rows: Tensor, config: AugmentationConfig, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return (clean, seen) of the spectra x[rows], each n x 1 x L: what to draw and what is seen.

    clean lies in [0, 1], seen does not. Partners to mix with come from x of the same label.
    """

    def uniform(*size: int) -> Tensor:
        return torch.rand(*size, generator=rng, device=x.device)

    n, length = len(rows), x.shape[-1]
    same = labels[rows, None] == labels[None]  # n x N
    partners = (uniform(n, len(x)) * same).argmax(1)
    weight = (uniform(n) < config.mix) * uniform(n) / 2  # a spectrum keeps the greater part
    mixed = torch.lerp(x[rows], x[partners], weight[:, None, None])
    shift = torch.randint(
        -config.max_shift, config.max_shift + 1, (n, 1, 1), generator=rng, device=x.device
    )
    channels = (torch.arange(length, device=x.device) - shift).clamp(0, length - 1)
    gain = 1 - config.max_gain * uniform(n, 1, 1)
    clean = mixed.gather(2, channels) * gain
    ends = config.max_baseline * uniform(n, 2)
    baseline = torch.lerp(ends[:, :1], ends[:, 1:], torch.linspace(0, 1, length, device=x.device))
    noise = torch.randn(clean.shape, generator=rng, device=x.device)
    seen = clean + baseline[:, None] + config.max_noise * uniform(n, 1, 1) * noise
    return clean, seen
