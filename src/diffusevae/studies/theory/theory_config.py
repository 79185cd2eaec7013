"""What the theory figures are measured on: the section `theory` of params.yaml."""

from dataclasses import dataclass
from typing import Annotated

from diffusevae.core.params import PositiveCount, Range


@dataclass(frozen=True)
class TheoryConfig:
    """Sizes of all parts.

    num_images test images are looked at, resampled num_resamples times; entropies are bounded at
    num_levels steps of the chain. num_points points go through the process in the plane, and back
    in num_steps steps. The VAEs with a code of two numbers learn from num_train_images in as many
    epochs, the one with both terms under kl_weight. Detail is what is finer than detail_frequency,
    in cycles per pixel: 0.25 are waves of 4 pixels, 0.5 is the finest along a row.
    """

    num_images: Annotated[int, Range(4, 10_000_000)]
    num_resamples: PositiveCount
    num_levels: PositiveCount
    num_points: Annotated[int, Range(4, 1_000_000)]
    num_steps: PositiveCount
    num_train_images: PositiveCount
    epochs: PositiveCount
    kl_weight: Annotated[float, Range(0, 1000)]
    detail_frequency: Annotated[float, Range(0, 0.7)]
