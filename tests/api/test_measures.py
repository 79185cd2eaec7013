"""Numbers that the library's functions give, against those of the pipeline's."""

import io
import json
import re

import pandas as pd
import pytest
import torch

from diffusevae import api
from diffusevae.core.randomness import generator
from diffusevae.metrics.evaluation import measure_models, summarise_pairs
from diffusevae.metrics.labels import RESTORERS
from tests.support.checkouts import ROOT

REAL, MADE = torch.rand(2, 60, 1, 16, 16, generator=generator(0, "images"))
PUBLISHED = ROOT / "docs/results/quickstart/mnist/metrics.json"


def test_pairs_have_the_numbers_and_intervals_of_the_stage_evaluate():
    pairs = {"real": REAL, "labels": torch.zeros(60), **dict.fromkeys(RESTORERS, MADE)}
    frame = measure_models(pairs, None, torch.device("cpu"))
    expected = summarise_pairs(frame, 1000, seed=3)["vae"]
    found = api.evaluate_pairs(REAL, MADE, seed=3)
    assert found.to_dict("index") == {name: each for name, each in expected.items() if each}


def test_sets_are_measured_in_the_features_of_a_classifier():
    dark, bright = REAL / 2, REAL / 2 + 0.5
    images, labels = torch.cat([dark, bright]), torch.arange(2).repeat_interleave(60)
    rows = []
    classifier = api.train_classifier(images, labels, epochs=2, on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [1, 2]
    same = api.evaluate_sets(dark, dark, classifier)["value"]
    other = api.evaluate_sets(dark, bright, classifier)["value"]
    assert list(same.index) == ["frechet", "kid", "precision", "recall", "density", "coverage"]
    assert same["frechet"] < 1e-6 < other["frechet"] and same["recall"] == 1 > other["recall"]


def test_a_metrics_json_as_a_table_of_pandas():
    table, content = api.load_results(PUBLISHED), json.loads(PUBLISHED.read_text())
    assert list(table) == ["kind", "model", "metric", "value", "low", "high", "n"]
    entry = content["paired"]["difference"]["ssim"]
    [row] = table.query("model == 'difference' and metric == 'ssim'").to_dict("records")
    assert row == {"kind": "paired", "model": "difference", "metric": "ssim", **entry,
                   "n": content["num_images"]}  # fmt: skip
    [row] = table.query("model == 'floor' and metric == 'frechet'").to_dict("records")
    assert row["value"] == content["floor"]["frechet"]["value"]
    assert row["n"] == content["num_generated"]
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    pd.testing.assert_frame_equal(again, table, check_exact=True)
    wide = table.pivot(index="model", columns="metric", values="value")
    latex = wide.to_latex(float_format="%.3f")
    mine = f"{content['generated']['ddpm']['frechet']['value']:.3f}"
    assert re.search(rf"^ddpm .*{re.escape(mine)}", latex, re.MULTILINE)


def test_what_cannot_be_measured_is_named_in_one_line(tmp_path):
    with pytest.raises(api.InputError, match="made 59 x 1 x 16 x 16: the real images are 60 x"):
        api.evaluate_pairs(REAL, MADE[1:])
    with pytest.raises(api.InputError, match="SSIM needs 11 x 11"):
        api.evaluate_pairs(REAL[..., :8, :8], MADE[..., :8, :8])
    with pytest.raises(api.InputError, match="labels .*expected 60 whole numbers from 0 on"):
        api.train_classifier(REAL, torch.zeros(59, dtype=torch.int64), epochs=1)
    with pytest.raises(api.InputError, match="labels torch.float32 60"):
        api.train_classifier(REAL, torch.zeros(60), epochs=1)
    with pytest.raises(api.InputError, match="metrics.json: .*"):
        api.load_results(tmp_path / "metrics.json")
    classifier = api.train_classifier(REAL, torch.zeros(60, dtype=torch.int64), epochs=1)
    with pytest.raises(api.InputError, match="made 60 x 1 x 8 x 8: the classifier knows images"):
        api.evaluate_sets(REAL, MADE[..., :8, :8], classifier)
    with pytest.raises(api.InputError, match="evaluate made: 2 images"):
        api.evaluate_sets(REAL, MADE[:2], classifier)
