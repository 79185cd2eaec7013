"""An autoencoder on data of another kind: each model on each data set, PCA beside it (C4)."""

import dataclasses
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.data.dataset import to_unit
from diffusevae.figures.drawing import COLOURS, MUTED, Strip, draw_strips, label_axes, panels
from diffusevae.latents.autoencoders.networks import NetworkConfig, train_autoencoder
from diffusevae.latents.autoencoders.part import AE, COURSE, FAMILY_COLOURS, PCA, Data, Part, Train
from diffusevae.latents.measures.evidence import describe, judge, spread
from diffusevae.latents.models.autoencoder import apply
from diffusevae.latents.page.chapter import Claim, Headline, Picture, Table
from diffusevae.metrics.paired import mse
from diffusevae.models.pca import fit_pca

SHOWN = 10


def divide(name: str, images: Tensor, test: Tensor, like: Data) -> Data:
    """Return another data set as `like` is divided: its last training images are for validation.

    Its labels are not used: they are `like`'s, cut to nothing.
    """
    num_train = min(len(like.train), len(images) - len(like.validation))
    return dataclasses.replace(
        like,
        name=name,
        train=images[:num_train],
        validation=images[-len(like.validation) :],
        test=test[: len(like.test)],
        labels=like.labels[:0],
    )


def study_other_data(
    network: NetworkConfig, latents: int, seed: int, data: Data, other: Data, train: Train
) -> Part:
    """Train an autoencoder on each of two data sets and measure both on the test images of both."""
    sets = {one.name: one for one in (data, other)}
    rows: list[dict[str, Any]] = []
    strips = []
    errors: dict[tuple[str, str, str], Tensor] = {}
    shown: dict[tuple[str, str], Tensor] = {}
    for trained_on, learned in sets.items():
        dataset = "" if learned is data else "other"
        model = train_autoencoder(AE, network, latents, learned, seed, train, dataset)
        pca = fit_pca(learned.train)
        for tested_on, tested in sets.items():
            real = to_unit(tested.test.cpu())
            restored = {
                AE: apply(model.reconstruct, tested.test),
                PCA: pca.reconstruct(tested.test.cpu(), latents),
            }
            shown[trained_on, tested_on] = restored[AE][:SHOWN]
            for kind, images in restored.items():
                errors[kind, trained_on, tested_on] = mse(real, images)
                rows.append(
                    {"model": kind, "trained_on": trained_on, "tested_on": tested_on}
                    | spread(mse(real, images), data.seed, "mse")
                )
    for row in rows:  # what a model of the other data loses against one of these data
        native = errors[row["model"], row["tested_on"], row["tested_on"]]
        own = errors[row["model"], row["trained_on"], row["tested_on"]]
        row |= spread(own - native, data.seed, "mse_loss")
    for tested_on, tested in sets.items():
        strips.append(
            Strip(f"Test images: {tested_on}", to_unit(tested.test[:SHOWN].cpu()), COLOURS["real"])
        )
        strips += [
            Strip(f"AE trained on {trained_on}", shown[trained_on, tested_on], FAMILY_COLOURS[AE])
            for trained_on in sets
        ]
    return _report(pd.DataFrame(rows), strips, latents, len(data.test), seed)


def _report(
    table: pd.DataFrame, strips: list[Strip], latents: int, num_images: int, seed: int
) -> Part:
    learned = table[table["model"] == AE]
    foreign = learned[learned["trained_on"] != learned["tested_on"]].to_dict("records")
    native = learned[learned["trained_on"] == learned["tested_on"]].to_dict("records")
    specific = judge(
        all(row["mse_loss_low"] > 0 for row in foreign),
        any(row["mse_loss_high"] < 0 for row in foreign),
    )
    lossy = judge(all(row["mse_low"] > 0 for row in native), False)
    of = f"mean of {num_images} test images, one training (seed {seed}), 95 % interval"
    loss = "; ".join(
        f"trained on {row['trained_on']}, tested on {row['tested_on']}: "
        f"{describe(row, 'mse')}, {describe(row, 'mse_loss')} more than the model of "
        "those data"
        for row in foreign
    )
    times = [f["mse"] / n["mse"] for f, n in zip(foreign, native[::-1], strict=True)]
    return Part(
        summary=tuple(
            f"On {row['tested_on']} an autoencoder of {latents} numbers trained on "
            f"{row['trained_on']} makes {ratio:.1f} times the error of one trained there."
            for row, ratio in zip(foreign, times, strict=True)
        ),
        headlines=tuple(
            Headline(
                f"AE-{latents} trained on {row['trained_on']}, tested on "
                f"{row['tested_on']}: squared error more than a native's",
                row["mse_loss"],
                row["mse_loss_low"],
                row["mse_loss_high"],
                of,
            )
            for row in foreign
        ),
        claims=(
            Claim(
                "An autoencoder is specific to the data it was trained on",
                COURSE,
                specific,
                f"{loss}; {of}",
            ),
            Claim(
                "An autoencoder is lossy, and learns without labels",
                COURSE,
                lossy,
                "the error on its own kind of data is "
                + " and ".join(describe(row, "mse") for row in native)
                + f", not zero; no label was used in training; {of}",
            ),
        ),
        pictures=(
            (
                Picture(
                    "other_data.png",
                    "Trained on one kind of data, tested on another",
                    f"Squared error of codes of {latents} numbers on the test images of both data "
                    "sets, with 95 % intervals. Pale: models of the other data.",
                ),
                _draw(table),
            ),
            (
                Picture(
                    "other_data_images.png",
                    "What a model of other data restores",
                    "Test images of both data sets, restored by the autoencoder of either.",
                ),
                draw_strips(strips, SHOWN),
            ),
        ),
        tables=(
            (
                Table(
                    "other_data.csv",
                    "Cross table of errors",
                    f"Squared error of codes of {latents} numbers, with 95 % intervals; "
                    "mse_loss: how much more it is than that of the model trained on the data "
                    "it is tested on, image by image.",
                ),
                table,
            ),
        ),
    )


def _draw(table: pd.DataFrame) -> Figure:
    figure, grid = panels(1, 2, 2.6, sharey=True)
    for axes, (tested_on, own) in zip(
        grid.flat, table.groupby("tested_on", sort=False), strict=True
    ):
        own = own.sort_values(["model", "trained_on"], ascending=False)
        bars = [own["mse"] - own["mse_low"], own["mse_high"] - own["mse"]]
        drawn = axes.barh(
            own["model"] + " of " + own["trained_on"],
            own["mse"],
            xerr=bars,
            capsize=3,
            ecolor=MUTED,
            height=0.6,
            color=[FAMILY_COLOURS[model] for model in own["model"]],
        )
        for bar, trained_on in zip(drawn, own["trained_on"], strict=True):
            bar.set_alpha(1 if trained_on == tested_on else 0.5)
        axes.grid(axis="y", visible=False)
        label_axes(axes, f"On {tested_on}", "mean squared error")
    grid[0, 0].invert_yaxis()
    return figure
