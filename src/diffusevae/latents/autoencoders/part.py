"""One part of the study of the autoencoder family: what it works on, trains with, and found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.figures.drawing import COLOURS, INK, save_figure
from diffusevae.latents.page.chapter import Chapter, Claim, Headline, Picture, Table, write_chapter
from diffusevae.latents.page.words import SUFFIX, fill_chapter
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.loop import Callbacks, History, Model

Kind = Literal["AE", "VAE"]
AE: Kind = "AE"
VAE: Kind = "VAE"
KINDS = (AE, VAE)
PCA = "PCA"
FAMILY_COLOURS = {PCA: INK, AE: COLOURS["ddpm"], VAE: COLOURS["vae"]}
COURSE = "the course on autoencoders"  # the source of what is claimed; its rows: docs/study.md, 9

# Trains and returns (model, history), as `training.fit` does.
Fitting = Callable[[Callbacks, Checkpointer | None], tuple[Model, History]]


class Train(Protocol):
    """Runs a fitting under a name, with the facts that tell it from others.

    A name is trained once: who asks again gets the same model.
    """

    def __call__(self, name: str, facts: Mapping[str, object], fit: Fitting[Model], /) -> Model: ...


@dataclass(frozen=True, eq=False)
class Data:
    """A named data set: uint8 images N x C x H x W on the device to use; test images' labels."""

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    labels: Tensor
    seed: int


@dataclass(frozen=True, eq=False)
class Part:
    """What was found, for the chapter: sentences, numbers, claims, figures and tables."""

    summary: tuple[str, ...]
    headlines: tuple[Headline, ...] = ()
    claims: tuple[Claim, ...] = ()
    pictures: tuple[tuple[Picture, Figure], ...] = ()
    tables: tuple[tuple[Table, pd.DataFrame], ...] = ()


def fill_part(
    name: str, figures: Mapping[str, Figure], tables: Mapping[str, pd.DataFrame], **facts: object
) -> Part:
    """Return what a template of this folder tells, with the figures and tables that it names."""
    told = fill_chapter(Path(__file__).with_name(name + SUFFIX), course=COURSE, **facts)
    return Part(
        told.summary,
        told.headlines,
        told.claims,
        tuple((picture, figures[picture.file]) for picture in told.pictures),
        tuple((table, tables[table.file]) for table in told.tables),
    )


def write_parts(out: Path, title: str, parts: Sequence[Part]) -> None:
    """Write every table, every figure and the chapter that they make together."""
    out.mkdir(parents=True, exist_ok=True)
    for part in parts:
        for table, frame in part.tables:
            frame.to_csv(out / table.file, index=False)
        for picture, figure in part.pictures:
            save_figure(figure, out / picture.file)
    gathered = {
        name: tuple(one for part in parts for one in getattr(part, name))
        for name in ("summary", "headlines", "claims")
    }
    pictures = tuple(picture for part in parts for picture, _ in part.pictures)
    tables = tuple(table for part in parts for table, _ in part.tables)
    write_chapter(out, Chapter(title=title, **gathered, pictures=pictures, tables=tables))
