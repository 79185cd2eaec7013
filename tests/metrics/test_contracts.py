"""Contracts on real images: what they accept, and that they refuse what cannot be."""

import numpy as np
import pandas as pd
import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.data.dataset import to_unit
from diffusevae.data.idx import read_idx_set
from diffusevae.data.resizing import resize
from diffusevae.metrics.contracts import (
    CORRUPTIONS,
    corrupt,
    find_blind_metrics,
    find_breaches,
    find_breaches_of_means,
    measure_corruptions,
    require,
)
from diffusevae.metrics.metric import METRICS, PAIRED
from diffusevae.metrics.paired import measure_pairs
from diffusevae.metrics.perceptual import load_lpips
from diffusevae.report import reference_study
from tests.support.real_data import raw_folder
from tests.support.toy_sets import blobs, blurred, noisy

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["mnist", "fashion_mnist"])
def corruptions(request) -> tuple[str, pd.DataFrame]:
    """A data set's name, and what every metric says of its damaged test images."""
    images = read_test_images(request.param)
    return request.param, measure_corruptions(images, load_lpips(raw_folder("alexnet")), CPU)


def read_test_images(dataset: str) -> torch.Tensor:
    images, _ = read_idx_set(raw_folder(dataset), "t10k")
    return to_unit(resize(images[:60], 32, "bilinear", antialias=True))


def test_what_is_measured_is_accepted():
    x = blobs(16)
    for y in (x, noisy(x, 0.3), blurred(x, 5), 1 - x, torch.ones_like(x)):
        assert find_breaches(measure_pairs(x, y)) == []


@pytest.mark.parametrize(
    "name, columns",
    [
        ("psnr", {"psnr": [30.0, float("inf")]}),
        ("ssim", {"mse": [0.1], "ssim": [1.1]}),
        ("lpips", {"lpips": [-0.1]}),
        ("mse", {"mse": [float("nan")]}),
        ("mae", {"mse": [0.01, 0.01], "mae": [0.1, 0.11]}),
        ("edge_sim", {"mse": [0.0102], "edge_sim": [2.323]}),
        ("hist_sim", {"hist_sim": [2.01]}),
        ("recall", {"recall": [1.2]}),
        ("fid", {"fid": [3.0]}),
    ],
)
def test_the_metric_that_breaks_its_contract_is_named(name, columns):
    (breach,) = find_breaches(columns)
    assert breach.startswith(f"{name}: ")
    with pytest.raises(InputError, match=f"evaluate: {name}: .*no table is written"):
        require([breach])


def test_every_metric_gets_worse_with_more_damage(corruptions):
    _, table = corruptions
    assert find_blind_metrics(table, PAIRED) == []
    undamaged = table.iloc[0]
    best = {"psnr": 100, "ssim": 1}
    assert all(undamaged[name] == pytest.approx(best.get(name, 0), abs=1e-6) for name in PAIRED)
    assert len(table) == 1 + sum(map(len, CORRUPTIONS.values()))


@pytest.mark.parametrize("name", PAIRED)
def test_a_metric_of_the_wrong_direction_is_found(corruptions, name):
    _, table = corruptions
    turned = table.assign(**{name: -table[name]})
    breaches = find_blind_metrics(turned, PAIRED)
    assert len(breaches) == len(CORRUPTIONS)
    assert all(breach.startswith(f"{name}: does not get worse") for breach in breaches)


@pytest.mark.parametrize("model", ["vae", "diffusevae"])
def test_the_studys_tables_are_refused_with_the_reasons(corruptions, model):
    dataset, table = corruptions
    printed = reference_study.PRINTED[dataset][model]
    assert set(printed) == set(PAIRED)
    edges, network = find_breaches_of_means(printed, table)
    assert edges.startswith("edge_sim: ") and "exceeds its bound" in edges  # docs/study.md, 10
    assert network.startswith("lpips: ") and "brightness" in network  # docs/study.md, 10
    corrected = reference_study.correct(dataset)[model]
    assert find_breaches_of_means(corrected, table) == []
    assert 0.06 < corrected["lpips"] < 0.08
    changed = {name for name in PAIRED if corrected[name] != printed[name]}
    assert changed == set(reference_study.CORRECTIONS) and changed <= set(reference_study.CAVEATS)


def test_a_mean_psnr_below_that_of_the_mean_mse_is_refused(corruptions):
    row = reference_study.correct("mnist")["vae"] | {"psnr": 20.0}
    (breach,) = find_breaches_of_means(row, corruptions[1])
    assert breach == "psnr: 20 is below 21.61, the PSNR of the mean MSE"


def few_values(kind: str) -> torch.Tensor:
    """Images of two grey values, of one, or only one image."""
    if kind == "mnist":
        return (read_test_images("mnist") > 0.5).float()
    boxes = torch.zeros(40, 1, 32, 32)
    for i, box in enumerate(boxes):
        box[0, i % 9 : i % 9 + 7 + i % 5, i % 13 : i % 13 + 9] = 1
    return {
        "boxes": boxes,
        "dark on white": 1 - boxes,
        "grey on grey": 0.25 + boxes / 2,
        "black": torch.zeros(9, 1, 32, 32),
        "white": torch.ones(9, 3, 32, 32),
        "grey": torch.full((9, 1, 32, 32), 128 / 255),  # real images have 8 bits
        "one": boxes[:1],
        "two": boxes[:2],
        "alike": boxes[:1].repeat(9, 1, 1, 1),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "mnist",
        "boxes",
        "dark on white",
        "grey on grey",
        "black",
        "white",
        "grey",
        "one",
        "two",
        "alike",
    ],
)
def test_images_of_few_grey_values_and_few_images_are_no_fault_of_a_metric(kind):
    table = measure_corruptions(few_values(kind), load_lpips(raw_folder("alexnet")), CPU)
    assert find_blind_metrics(table, PAIRED) == []
    turned = table.assign(mse=-table["mse"], hist_sim=-table["hist_sim"])
    named = {breach.split(":")[0] for breach in find_blind_metrics(turned, PAIRED)}
    assert named == {"mse", "hist_sim"}


def test_corruptions_are_what_they_say():
    x = blobs(4)
    assert torch.equal(corrupt(x, "none", 0.0), x)
    torch.testing.assert_close(
        corrupt(torch.full_like(x, 0.5), "shift", 0.1), torch.full_like(x, 0.6)
    )
    torch.testing.assert_close(corrupt(x, "mix", 0.25)[1], 0.75 * x[1] + 0.25 * x[0])
    grey = torch.full((1, 3, 32, 32), 0.5)
    assert float(corrupt(grey, "noise", 0.1).std()) == pytest.approx(0.1, rel=0.1)
    point = torch.zeros(1, 1, 33, 33)
    point[0, 0, 16, 16] = 1
    spread = corrupt(point, "blur", 2.0)[0, 0]
    distance = torch.arange(33) - 16.0
    assert float(spread.sum()) == pytest.approx(1, abs=1e-4)
    variance = float((spread.sum(0) * distance**2).sum())
    assert variance == pytest.approx(4, rel=0.01)


def test_metrics_know_their_direction():
    lower = {name for name in METRICS if METRICS[name].better == "lower"}
    assert lower == {"mse", "lpips", "mae", "edge_sim", "hist_sim", "frechet", "frechet_inf", "kid"}
    assert np.isfinite([METRICS[name].low or 0 for name in METRICS]).all()
