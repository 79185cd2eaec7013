"""The page of the runs at the study's scale says what their metrics.json say, and no more."""

import json

import pytest

from diffusevae.metrics.labels import FLOOR, WAYS
from diffusevae.metrics.metric import METRICS, PAIRED
from diffusevae.report.reference_study import CORRECTIONS, PRINTED, correct
from diffusevae.report.report_tables import format_value
from tasks.report.cells import render_interval
from tests.support.checkouts import ROOT

PAGE = (ROOT / "docs/study_scale.md").read_text()
FILES = ROOT / "docs/study_scale"
MODELS = ("vae", "diffusevae")


def read(dataset: str) -> dict:
    return json.loads((FILES / dataset / "metrics.json").read_text())


def render(name: str, entry: dict) -> str:
    return render_interval(name, entry["value"], entry["low"], entry["high"])


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("name", PAIRED)
def test_restored_images_beside_the_study_s(dataset, name):
    paired, printed, corrected = read(dataset)["paired"], PRINTED[dataset], correct(dataset)
    cells = [format_value(name, printed[model][name]) for model in MODELS]
    if name in CORRECTIONS:
        read_as = [format_value(name, corrected[model][name]) for model in MODELS]
        cells = [f"{cell} ({other})" for cell, other in zip(cells, read_as, strict=True)]
    cells += [render(name, paired[key][name]) for key in (*MODELS, "difference")]
    assert f"| {METRICS[name].name} | {' | '.join(cells)} |" in PAGE


def test_generated_images():
    found = {dataset: read(dataset) for dataset in ("mnist", "fashion_mnist")}
    rows = {way: title for way, (title, _) in WAYS.items() if way in found["mnist"]["generated"]}
    for way, title in (rows | {"floor": FLOOR}).items():
        entries = [({"floor": each["floor"]} | each["generated"])[way] for each in found.values()]
        cells = [render(name, each[name]) for each in entries for name in ("frechet", "recall")]
        assert f"| {title} | {' | '.join(cells)} |" in PAGE


def test_the_images_are_as_many_as_the_study_s():
    for dataset in ("mnist", "fashion_mnist"):
        metrics = read(dataset)
        assert metrics["num_images"] == metrics["num_generated"] == 10_000
