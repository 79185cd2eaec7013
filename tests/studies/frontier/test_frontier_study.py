"""The frontier: its points, its paired comparison, its choice."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from diffusevae.core.params import load_entry
from diffusevae.core.tensor_file import load_tensors, save_tensors, sha256_of
from diffusevae.figures.drawing import figure_style
from diffusevae.models.classifier import Classifier, ClassifierConfig, save_classifier
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.stages import frontier as stage
from diffusevae.studies.frontier import frontier_results
from diffusevae.studies.frontier.frontier_figures import draw_frontier
from diffusevae.studies.frontier.frontier_study import (
    QUANTITIES,
    FrontierConfig,
    choose_default,
    compare_points,
    converged,
    list_points,
)
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.dvc_graph import ROOT
from tests.support.toy_artifacts import write_models
from tests.support.toy_models import make_sampler
from tests.support.toy_splits import write_split

CONFIG = FrontierConfig(
    samplers=("ddim", "unipc"),
    etas=(0.0, 1.0),
    num_steps=(2, 4),
    converged_steps=8,
    num_images=12,
    num_resamples=10,
)


def test_ddim_has_a_point_for_every_eta_and_the_others_one():
    base = make_sampler(sampler="ddpm", eta=0.3, num_steps=7, temperature=0.9)
    points = [(p.sampler, p.eta, p.num_steps) for p in list_points(base, CONFIG)]
    assert points == [
        ("ddim", 0.0, 2),
        ("ddim", 0.0, 4),
        ("ddim", 1.0, 2),
        ("ddim", 1.0, 4),
        ("unipc", 0.0, 2),
        ("unipc", 0.0, 4),
    ]
    end = converged(base, CONFIG)
    assert (end.sampler, end.eta, end.num_steps, end.temperature) == ("ddim", 0.0, 8, 0.9)


def make_point(shift: float, change: float = 0.0, seed: int = 0) -> dict[str, np.ndarray]:
    """Return features whose mean is off by `shift`, and an SSIM of 0.5 + change."""
    noise = np.random.default_rng(seed).normal(size=(200, 4))
    return {
        "ddpm_frechet": noise + shift,
        "diffusevae_frechet": noise + shift,
        "diffusevae_ssim": 0.5 + change + 0.01 * noise[:, 0],
    }


@pytest.mark.parametrize(
    ("shift", "change", "not_worse"),
    [
        (0.0, 0.0, [True, True, True]),
        (1.0, 0.0, [False, False, True]),
        (0.0, -0.1, [True, True, False]),
        (-0.5, 0.1, [True, True, True]),
    ],
)
def test_only_what_is_surely_worse_counts_as_worse(shift, change, not_worse):
    """The converged features are 0.5 off the reference: moving them nearer is better."""
    reference = np.random.default_rng(1).normal(size=(200, 4))
    best = make_point(0.5)
    row = compare_points(make_point(0.5 + shift, change), best, reference, 100, 0)
    assert [row[f"{name}_not_worse"] for name in QUANTITIES] == not_worse
    for name in QUANTITIES:
        assert row[f"{name}_low"] <= row[f"{name}_change"] <= row[f"{name}_high"]
    assert row["diffusevae_ssim"] == pytest.approx(0.5 + change, abs=2e-3)
    if shift == 1.0:  # |m|^2 grows from 4 * 0.5^2 to 4 * 1.5^2
        assert row["ddpm_frechet_change"] == pytest.approx(8, rel=0.15)


def make_rows(*rows: tuple) -> pd.DataFrame:
    columns = [
        "sampler",
        "eta",
        "num_steps",
        "diffusevae_frechet",
        "diffusevae_frechet_not_worse",
        "diffusevae_ssim_not_worse",
    ]
    return pd.DataFrame(rows, columns=columns)


def test_the_default_has_the_fewest_steps_at_which_nothing_is_worse():
    rows = make_rows(
        ("ddim", 0.0, 2, 1.0, True, False),
        ("ddim", 0.0, 10, 5.0, True, True),
        ("unipc", 0.0, 10, 4.0, True, True),
        ("ddim", 1.0, 5, 3.0, False, True),
        ("unipc", 0.0, 20, 2.0, True, True),
    )
    assert choose_default(rows) == {"sampler": "unipc", "eta": 0.0, "num_steps": 10}
    assert choose_default(rows.iloc[[0, 3]]) is None


def test_the_figure_has_a_plot_per_quantity_and_a_line_per_sampler():
    reference = np.random.default_rng(1).normal(size=(50, 4))
    best = make_point(0.2)
    rows = pd.DataFrame(
        [
            {"sampler": p.sampler, "eta": p.eta, "num_steps": p.num_steps}
            | compare_points(make_point(1 / p.num_steps), best, reference, 5, 0)
            for p in list_points(make_sampler(), CONFIG)
        ]
    )
    with figure_style():
        figure = draw_frontier(rows, compare_points(best, best, reference, 1, 0))
    assert len(figure.axes) == len(QUANTITIES)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["ddim, eta 0", "ddim, eta 1", "unipc"]


@pytest.fixture
def run_stage(tmp_path):
    """A function (validation images' file, out) that runs the stage on untrained models."""
    folders = write_models(tmp_path)
    torch.manual_seed(0)
    network = Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 10)
    save_classifier(tmp_path / "classifier", network)
    params = SimpleNamespace(
        key="toy", seed=0, sampler=make_sampler(num_steps=3, batch_size=50), frontier=CONFIG
    )

    def run(validation: Path, out: Path) -> Path:
        stage.run(
            params,
            validation=validation,
            **folders,
            classifier=tmp_path / "classifier",
            out=out,
            log=StageLogger(),
        )
        return out

    return run


def test_the_stage_names_the_model_its_choice_is_for_and_repeats_its_bytes(run_stage, tmp_path):
    write_split(tmp_path / "images", 24, 0)
    one, two = (run_stage(tmp_path / "images", tmp_path / name) for name in ("one", "two"))
    for file in ("frontier.csv", "frontier.png", "default.json", "budget.csv", "budget.png"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    default = json.loads((one / "default.json").read_text())
    files = {
        "vae": "train_vae/model.safetensors",
        "prior": "train_vae/prior.safetensors",
        "diffusevae": "train_diffusevae/model.safetensors",
        "classifier": "classifier",
    }
    assert default["files"] == {name: sha256_of(tmp_path / path) for name, path in files.items()}
    assert default["params"]["sampler"]["num_steps"] == 3 and default["params"]["seed"] == 0
    table = pd.read_csv(one / "frontier.csv")
    assert len(table) == 6 and default["num_images"] == 12
    chosen = SamplerConfig(**default["sampler"])
    [row] = [
        row
        for row in table.to_dict("records")
        if (row["sampler"], row["eta"]) == (chosen.sampler, chosen.eta)
        and row["num_steps"] == chosen.num_steps
    ]
    assert default["measured"] == {
        name: pytest.approx(row[name]) for name in ("diffusevae_frechet", "diffusevae_ssim")
    }


def test_the_choice_names_its_settings_as_params_yaml_states_them(run_stage, tmp_path):
    """The registry compares both; an option that is off stands in neither."""
    write_split(tmp_path / "images", 24, 0)
    default = json.loads(
        (run_stage(tmp_path / "images", tmp_path / "out") / "default.json").read_text()
    )
    stated = load_entry(ROOT / "params.yaml", "experiments", "quickstart")
    for section in ("sampler", "frontier"):
        assert default["params"][section].keys() == stated[section].keys()


def test_where_nothing_is_good_enough_nothing_is_chosen(run_stage, tmp_path, monkeypatch):
    monkeypatch.setattr(frontier_results, "choose_default", lambda table: None)
    write_split(tmp_path / "images", 24, 0)
    default = json.loads(
        (run_stage(tmp_path / "images", tmp_path / "out") / "default.json").read_text()
    )
    assert default["sampler"] is None and default["measured"] is None


def test_generated_images_are_held_against_others_than_those_refined(run_stage, tmp_path):
    write_split(tmp_path / "images", 24, 0)
    tensors = load_tensors(tmp_path / "images")
    tensors["images"][12:] //= 4  # of 24 images the first 12 are refined, the others the reference
    save_tensors(tmp_path / "darker", tensors)
    first, second = (
        pd.read_csv(run_stage(tmp_path / name, tmp_path / f"{name}_out") / "frontier.csv")
        for name in ("images", "darker")
    )
    assert first["diffusevae_ssim"].equals(second["diffusevae_ssim"])
    assert (first["ddpm_frechet"] != second["ddpm_frechet"]).all()
