"""An autoencoder on data of another kind: each model on each data set, PCA beside it (C4)."""

import dataclasses
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from diffusevae.data.dataset import to_unit
from diffusevae.figures.drawing import (
    COLOURS,
    Strip,
    draw_interval_bars,
    draw_strips,
    label_axes,
    panels,
)
from diffusevae.latents.autoencoders.networks import NetworkConfig, train_autoencoder
from diffusevae.latents.autoencoders.part import (
    AE,
    FAMILY_COLOURS,
    PCA,
    Data,
    Part,
    Train,
    fill_part,
)
from diffusevae.latents.measures.evidence import judge, spread
from diffusevae.latents.models.autoencoder import apply
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
    for row, same_data in zip(foreign, native[::-1], strict=True):
        row["times"] = row["mse"] / same_data["mse"]
    return fill_part(
        "other_data",
        {"other_data.png": _draw(table), "other_data_images.png": draw_strips(strips, SHOWN)},
        {"other_data.csv": table},
        latents=latents,
        num_images=num_images,
        seed=seed,
        foreign=foreign,
        native=native,
        specific=judge(
            all(row["mse_loss_low"] > 0 for row in foreign),
            any(row["mse_loss_high"] < 0 for row in foreign),
        ),
        lossy=judge(all(row["mse_low"] > 0 for row in native), False),
    )


def _draw(table: pd.DataFrame) -> Figure:
    figure, grid = panels(1, 2, 2.6, sharey=True)
    for axes, (tested_on, own) in zip(
        grid.flat, table.groupby("tested_on", sort=False), strict=True
    ):
        own = own.sort_values(["model", "trained_on"], ascending=False)
        names = own["model"] + " of " + own["trained_on"]
        colours = [FAMILY_COLOURS[model] for model in own["model"]]
        drawn = draw_interval_bars(axes, names, own, "mse", colours)
        for bar, trained_on in zip(drawn, own["trained_on"], strict=True):
            bar.set_alpha(1 if trained_on == tested_on else 0.5)
        label_axes(axes, f"On {tested_on}", "mean squared error")
    grid[0, 0].invert_yaxis()
    return figure
