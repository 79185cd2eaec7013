"""Intervals over trainings: by hand, and how often they hold the truth."""

import math

import numpy as np
import pandas as pd
import pytest

from diffusevae.metrics.metric import PAIRED
from diffusevae.metrics.seed_intervals import (
    compare_trainings,
    interval_of_trainings,
    interval_over_trainings,
)
from tests.support.toy_artifacts import make_metrics

TIMES = 2000


def draw_values(of_seeds, of_images, of_both, seeds, images, rng) -> np.ndarray:
    """Return seeds x images values around 0: an effect of the row, the column and the cell."""
    rows = of_seeds * rng.standard_normal((seeds, 1))
    columns = of_images * rng.standard_normal((1, images))
    return rows + columns + of_both * rng.standard_normal((seeds, images))


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    ("of_seeds", "of_images", "of_both"),
    [(0.01, 0.05, 0.02), (0.002, 0.05, 0.02), (0.001, 0.1, 0.01), (0.05, 0.02, 0.02)],
)
def test_intervals_over_trainings_hold_the_truth(seeds, of_seeds, of_images, of_both):
    """As SSIM varies between seeds and images here, less and more: in 95 to 97 % of draws."""
    rng = np.random.default_rng(0)
    found = [
        interval_over_trainings(draw_values(of_seeds, of_images, of_both, seeds, 300, rng))
        for _ in range(TIMES)
    ]
    held = np.mean([each["low"] <= 0 <= each["high"] for each in found])
    room = 4 * math.sqrt(0.96 * 0.04 / TIMES)
    assert 0.95 - room <= held <= 0.97 + room


def test_numbers_of_trainings_have_the_interval_of_student():
    """t of 2 degrees of freedom is 4.303: 2 ± 4.303 * 1 / sqrt(3)."""
    found = interval_of_trainings([1.0, 2.0, 3.0])
    assert found["value"] == 2
    assert found["high"] - 2 == 2 - found["low"] == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)


def test_trainings_that_are_alike_leave_the_images_alone():
    """Then it is the interval of a mean over N images: 1.98 deviations for 100 of them."""
    image = np.random.default_rng(0).standard_normal(100)
    found = interval_over_trainings(np.stack([image] * 3))
    reach = 1.984 * image.std(ddof=1) / 10  # t of 99 degrees of freedom
    assert found["high"] - found["value"] == pytest.approx(reach, rel=1e-3)


def test_one_training_is_refused():
    with pytest.raises(ValueError, match="one training says nothing of another"):
        interval_of_trainings([1.0])
    with pytest.raises(ValueError, match="one training"):
        interval_over_trainings(np.zeros((1, 10)))


def make_frame(shift: float) -> pd.DataFrame:
    """Return a per_image.csv of 6 images: models 0, 1 and 3 apart, and a training's own shift."""
    rows = [
        {"index": i, "label": 0, "model": model}
        | {name: i + distance + shift for name in PAIRED if name != "lpips"}
        | {"lpips": math.nan}
        for model, distance in (("vae", 0), ("stretched", 1), ("diffusevae", 3))
        for i in range(6)
    ]
    return pd.DataFrame(rows)


def test_trainings_side_by_side():
    metrics = [make_metrics() for _ in range(3)]
    for i, each in enumerate(metrics):
        each["generated"]["ddpm"]["frechet"]["value"] = 10.0 + i
        each["generated"]["ddpm"]["frechet_inf"] = None
    table = compare_trainings([make_frame(shift) for shift in (-1, 0, 1)], metrics)
    by = table.set_index(["model", "metric"])
    assert by.loc[("vae", "ssim"), "value"] == 2.5  # the mean of 0 .. 5
    for name, distance in (("difference", 3), ("control", 2)):  # a shift that both share is none
        row = by.loc[(name, "mse")]
        assert (row["value"], row["low"], row["high"]) == pytest.approx([distance] * 3)
    assert by.loc[("ddpm", "frechet"), "value"] == 11
    assert by.loc[("floor", "frechet"), "value"] == pytest.approx(4.18)
    assert ("ddpm", "frechet_inf") not in by.index and ("vae", "lpips") not in by.index
    assert set(table["num_trainings"]) == {3}
    other = make_frame(0).assign(index=lambda frame: frame["index"] + 1)
    with pytest.raises(ValueError, match="not measured on the same images"):
        compare_trainings([make_frame(0), other], metrics[:2])
