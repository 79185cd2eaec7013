"""What figures are made of, and what each is shown with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import pandas as pd
from matplotlib.figure import Figure

from diffusevae.core.params import Range
from diffusevae.figures.image_figures import Snapshots, Tensors
from diffusevae.models.diffusion_config import DiffusionConfig


@dataclass(frozen=True)
class FiguresConfig:
    """num_images: columns of an image grid; tsne_perplexity is lowered where codes are few."""

    num_images: Annotated[int, Range(2, 50)]
    tsne_perplexity: Annotated[float, Range(1, 1000)]


@dataclass(frozen=True, eq=False)
class Results:
    """What the stages of an experiment made, by model "vae", "ddpm", "diffusevae".

    tuning maps tune_vae and tune_ddpm to (trials, importances); per_image and metrics are those of
    the stage evaluate, the tensors those of sample; diffusion is what the models were trained with.
    """

    diffusion: DiffusionConfig
    snapshots: Mapping[str, Snapshots]
    histories: Mapping[str, pd.DataFrame]
    tuning: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]
    pairs: Tensors
    generated: Tensors
    trajectory: Tensors
    per_image: pd.DataFrame
    metrics: Mapping


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure with its file name, title, caption, and the section of the report it belongs to."""

    file: str
    title: str
    caption: str
    section: str
    figure: Figure
