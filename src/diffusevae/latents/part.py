"""One part of the study of the autoencoder family: what it works on, trains with, and found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor, nn

from diffusevae.bootstrap import interval
from diffusevae.drawing import COLOURS, INK, save_figure
from diffusevae.latents.chapter import Chapter, Claim, Headline, Picture, Table, write_chapter
from diffusevae.progress import Progress
from diffusevae.randomness import seed_of
from diffusevae.training import Callbacks

PCA, AE, VAE = "PCA", "AE", "VAE"
FAMILY_COLOURS = {PCA: INK, AE: COLOURS["ddpm"], VAE: COLOURS["vae"]}
COURSE = "the course on autoencoders"  # ROWS C: the source of what is claimed

# Trains and returns (model, history), as `training.fit` does.
Fitting = Callable[[Callbacks, Progress | None], tuple[nn.Module, list[dict[str, float]]]]
# Runs a fitting under a name, with the facts that tell it from others. A name is trained once: who
# asks again gets the same model.
Train = Callable[[str, Mapping[str, object], Fitting], nn.Module]


@dataclass(frozen=True, eq=False)
class Data:
    """A data set by name: uint8 images N x C x H x W on the device to use; the test images' labels.
    """

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


def spread(values: np.ndarray | Tensor, seed: int, name: str) -> dict[str, float]:
    """Return the mean of N values with its 95 % interval as columns: name, name_low, name_high."""
    found = interval(np.asarray(values, dtype=np.float64), seed_of(seed, name))
    return {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}


def judge(better: bool, worse: bool) -> Literal["holds", "fails", "open"]:
    """Return the verdict on a claim: what the intervals prove for it, against it, or neither."""
    return "holds" if better else "fails" if worse else "open"


def describe(row: Mapping[str, float], name: str, digits: int = 4) -> str:
    """Return what `spread` found as text: value [low, high]."""
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def headline(name: str, row: Mapping[str, float], column: str, of: str) -> Headline:
    """Return what `spread` found as a number of the chapter."""
    return Headline(name, *(row[column + end] for end in ("", "_low", "_high")), of)


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
