"""An autoencoder on data of another kind: each model on each data set, PCA beside it (ROWS C4)."""

import dataclasses
import itertools

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.compression import fit_pca
from diffusevae.data import to_unit
from diffusevae.drawing import COLOURS, MUTED, Strip, draw_strips, panels
from diffusevae.latents.autoencoder import NetworkConfig, apply, train_autoencoder
from diffusevae.latents.chapter import Claim, Headline, Picture, Table
from diffusevae.latents.part import (
    AE,
    COURSE,
    FAMILY_COLOURS,
    PCA,
    Data,
    Part,
    Train,
    describe,
    judge,
    spread,
)
from diffusevae.metrics import mse

OWN, OTHER = "own data", "other data"
SHOWN = 10


def divide(images: Tensor, test: Tensor, like: Data) -> Data:
    """Return another data set as `like` is divided: its last training images are for validation.

    Its labels are not used: they are `like`'s, cut to nothing.
    """
    num_train = min(len(like.train), len(images) - len(like.validation))
    return dataclasses.replace(
        like, train=images[:num_train], validation=images[-len(like.validation) :],
        test=test[: len(like.test)], labels=like.labels[:0],
    )  # fmt: skip


def study_other_data(
    network: NetworkConfig, latents: int, seed: int, data: Data, other: Data, train: Train
) -> Part:
    """Train an autoencoder on each of two data sets and measure both on the test images of both."""
    sets = {OWN: data, OTHER: other}
    rows, strips = [], []
    errors: dict[tuple[str, str, str], Tensor] = {}
    shown: dict[tuple[str, str], Tensor] = {}
    for trained_on, learned in sets.items():
        dataset = "" if trained_on == OWN else "other"
        model = train_autoencoder(AE, network, latents, learned, seed, train, dataset)
        pca = fit_pca(learned.train)
        for tested_on, tested in sets.items():
            real = to_unit(tested.test.cpu())
            restored = {AE: apply(model.reconstruct, tested.test),
                        PCA: pca.reconstruct(tested.test.cpu(), latents)}  # fmt: skip
            shown[trained_on, tested_on] = restored[AE][:SHOWN]
            for kind, images in restored.items():
                errors[kind, trained_on, tested_on] = mse(real, images)
                rows.append({"model": kind, "trained_on": trained_on, "tested_on": tested_on}
                            | spread(mse(real, images), data.seed, "mse"))  # fmt: skip
    for row in rows:  # what a model of the other data loses against one of these data
        native = errors[row["model"], row["tested_on"], row["tested_on"]]
        own = errors[row["model"], row["trained_on"], row["tested_on"]]
        row |= spread(own - native, data.seed, "mse_loss")
    for tested_on, tested in sets.items():
        strips.append(Strip(f"Test images: {tested_on}", to_unit(tested.test[:SHOWN].cpu()),
                            COLOURS["real"]))  # fmt: skip
        strips += [Strip(f"autoencoder trained on {trained_on}", shown[trained_on, tested_on],
                         FAMILY_COLOURS[AE]) for trained_on in sets]  # fmt: skip
    return _report(pd.DataFrame(rows), strips, latents, len(data.test), seed)


def _report(
    table: pd.DataFrame, strips: list[Strip], latents: int, num_images: int, seed: int
) -> Part:
    learned = table[table["model"] == AE]
    foreign = learned[learned["trained_on"] != learned["tested_on"]].to_dict("records")
    native = learned[learned["trained_on"] == learned["tested_on"]].to_dict("records")
    specific = judge(all(row["mse_loss_low"] > 0 for row in foreign),
                     any(row["mse_loss_high"] < 0 for row in foreign))  # fmt: skip
    lossy = judge(all(row["mse_low"] > 0 for row in native), False)
    of = f"mean of {num_images} test images, one training (seed {seed}), 95 % interval"
    loss = "; ".join(f"trained on {row['trained_on']}, tested on {row['tested_on']}: "
                     f"{describe(row, 'mse')}, {describe(row, 'mse_loss')} more than the model of "
                     "those data" for row in foreign)  # fmt: skip
    times = [f["mse"] / n["mse"] for f, n in zip(foreign, native[::-1], strict=True)]
    return Part(
        summary=(f"An autoencoder of {latents} numbers makes {times[0]:.1f} times the error on the "
                 "other data set that an autoencoder trained there makes, and the other one "
                 f"{times[1]:.1f} times on ours.",),
        headlines=tuple(Headline(f"AE-{latents} trained on {row['trained_on']}, tested on "
                                 f"{row['tested_on']}: squared error more than a native's",
                                 row["mse_loss"], row["mse_loss_low"], row["mse_loss_high"], of)
                        for row in foreign),
        claims=(
            Claim("An autoencoder is specific to the data it was trained on", COURSE, specific,
                  f"{loss}; {of}"),
            Claim("An autoencoder is lossy, and learns without labels", COURSE, lossy,
                  "the error on its own kind of data is " + " and ".join(
                      describe(row, "mse") for row in native)
                  + f", not zero; no label was used in training; {of}"),
        ),
        pictures=(
            (Picture("other_data.png", "Trained on one kind of data, tested on another",
                     f"Squared error of codes of {latents} numbers on the test images of both data "
                     "sets, with 95 % intervals. Below a bar: the model, and the data it was "
                     "trained on."),
             _draw(table)),
            (Picture("other_data_images.png", "What a model of other data restores",
                     "Test images of both data sets, restored by the autoencoder of either."),
             draw_strips(strips, SHOWN)),
        ),
        tables=((Table("other_data.csv", "Cross table of errors",
                       f"Squared error of codes of {latents} numbers, with 95 % intervals; "
                       "mse_loss: how much more it is than that of the model trained on the data "
                       "it is tested on, image by image."), table),),
    )  # fmt: skip


def _draw(table: pd.DataFrame) -> Figure:
    figure, grid = panels(1, 2, 3.0, sharey=True)
    for axes, tested_on in zip(grid.flat, (OWN, OTHER), strict=True):
        for kind, trained_on in itertools.product((PCA, AE), (OWN, OTHER)):
            row = table[(table["model"] == kind) & (table["trained_on"] == trained_on)
                        & (table["tested_on"] == tested_on)].iloc[0]  # fmt: skip
            bars = [[row["mse"] - row["mse_low"]], [row["mse_high"] - row["mse"]]]
            axes.bar(f"{kind}\n{trained_on.split()[0]}", row["mse"], yerr=bars, capsize=3,
                     ecolor=MUTED, color=FAMILY_COLOURS[kind],
                     alpha=1 if trained_on == tested_on else 0.5)  # fmt: skip
        axes.grid(axis="x", visible=False)
        axes.set_title(f"Tested on {tested_on}")
    grid[0, 0].set_ylabel("mean squared error")
    return figure
