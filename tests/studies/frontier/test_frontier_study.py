"""The frontier: its points, its paired comparison, its choice."""

import dataclasses
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
from diffusevae.studies.frontier import confirmation
from diffusevae.studies.frontier.frontier_figures import draw_frontier
from diffusevae.studies.frontier.frontier_study import FrontierConfig, converged, list_points
from diffusevae.studies.frontier.non_inferiority import QUANTITIES, Margins, Trial, compare_points
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
    margins=Margins(0.5, 1e5),
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


def test_the_figure_has_a_plot_per_quantity_and_a_line_per_sampler():
    reference = np.random.default_rng(1).normal(size=(50, 4))
    best, trial = make_point(0.2), Trial(CONFIG.margins, 6, reference, 5, 0)
    rows = pd.DataFrame(
        [
            {"sampler": p.sampler, "eta": p.eta, "num_steps": p.num_steps}
            | compare_points(make_point(1 / p.num_steps), best, trial)
            for p in list_points(make_sampler(), CONFIG)
        ]
    )
    with figure_style():
        figure = draw_frontier(rows, compare_points(best, best, trial))
    assert len(figure.axes) == len(QUANTITIES)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["ddim, eta 0", "ddim, eta 1", "unipc"]


@pytest.fixture
def run_stage(tmp_path):
    """A function that runs the stage on untrained models; config: the section, if another."""
    folders = write_models(tmp_path)
    torch.manual_seed(0)
    network = Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 10)
    save_classifier(tmp_path / "classifier", network)
    sampler = make_sampler(num_steps=3, batch_size=50)

    def run(validation: Path, test: Path, out: Path, config: FrontierConfig = CONFIG) -> Path:
        stage.run(
            SimpleNamespace(key="toy", seed=0, sampler=sampler, frontier=config),
            validation=validation,
            test=test,
            **folders,
            classifier=tmp_path / "classifier",
            out=out,
            log=StageLogger(),
        )
        return out

    return run


@pytest.fixture
def images(tmp_path):
    """The files of validation and test images."""
    write_split(tmp_path / "validation", 24, 0)
    write_split(tmp_path / "test", 30, 1)
    return tmp_path / "validation", tmp_path / "test"


def test_the_stage_names_the_model_its_choice_is_for_and_repeats_its_bytes(
    run_stage, images, tmp_path
):
    one, two = (run_stage(*images, tmp_path / name) for name in ("one", "two"))
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
    assert default["chosen"]["num_steps"] == 2 and default["confirmed"]  # margins forgive all
    chosen = SamplerConfig(**default["sampler"])
    assert (chosen.sampler, chosen.num_steps) == (default["chosen"]["sampler"], 2)
    assert (table["diffusevae_diversity_low"] <= table["diffusevae_diversity"]).all()
    # Of other images: what was chosen by is no measure of what was chosen.
    row = table[(table["sampler"] == chosen.sampler) & (table["num_steps"] == 2)].iloc[0]
    assert default["measured"]["diffusevae_ssim"] != pytest.approx(row["diffusevae_ssim"])
    for name, value in default["measured"].items():
        assert value == default["confirmation"][name]


def test_the_choice_is_confirmed_on_the_last_test_images_alone(run_stage, images, tmp_path):
    validation, test = images
    one = run_stage(validation, test, tmp_path / "one")
    tensors = load_tensors(test)
    tensors["images"][:6] //= 4  # of 30 images the last 24 are used
    save_tensors(tmp_path / "other", tensors)
    two = run_stage(validation, tmp_path / "other", tmp_path / "two")
    tensors["images"][6:18] //= 4  # the first of these are refined
    save_tensors(tmp_path / "darker", tensors)
    three = run_stage(validation, tmp_path / "darker", tmp_path / "three")
    texts = [(out / "default.json").read_text() for out in (one, two, three)]
    assert texts[0] == texts[1] != texts[2]
    tables = [(out / "frontier.csv").read_bytes() for out in (one, two, three)]
    assert tables[0] == tables[1] == tables[2]


def test_the_choice_names_its_settings_as_params_yaml_states_them(run_stage, images, tmp_path):
    """The registry compares both; an option that is off stands in neither."""
    default = json.loads((run_stage(*images, tmp_path / "out") / "default.json").read_text())
    stated = load_entry(ROOT / "params.yaml", "experiments", "quickstart")
    for section in ("sampler", "frontier"):
        assert default["params"][section].keys() == stated[section].keys()
    assert default["params"]["frontier"]["margins"].keys() == stated["frontier"]["margins"].keys()


@pytest.mark.parametrize("margins", [Margins(0.5, 1e-9), Margins(1e-9, 1e5)])
def test_where_nothing_is_proven_the_converged_sampler_is_the_default(
    run_stage, images, tmp_path, margins
):
    config = dataclasses.replace(CONFIG, margins=margins)
    out = run_stage(*images, tmp_path / "out", config)
    default = json.loads((out / "default.json").read_text())
    assert default["chosen"] is None and default["confirmation"] is None
    assert not default["confirmed"]
    sampler = SamplerConfig(**default["sampler"])
    assert (sampler.sampler, sampler.eta, sampler.num_steps) == ("ddim", 0.0, 8)
    assert set(default["measured"]) == {"diffusevae_frechet", "diffusevae_ssim"}
    budget = pd.read_csv(out / "budget.csv").set_index("part")
    assert budget.loc["sampler: the default's few steps", "value"] == 0


def test_what_test_images_do_not_confirm_is_no_default(run_stage, images, tmp_path, monkeypatch):
    monkeypatch.setattr(confirmation, "passes", lambda row: False)
    default = json.loads((run_stage(*images, tmp_path / "out") / "default.json").read_text())
    assert default["chosen"]["num_steps"] == 2 and not default["confirmed"]
    assert default["confirmation"]["diffusevae_ssim_low"] is not None
    assert default["sampler"]["num_steps"] == 8
    assert (
        default["measured"]["diffusevae_ssim"]
        == (default["confirmation"]["diffusevae_ssim_converged"])
    )


def test_generated_images_are_held_against_others_than_those_refined(run_stage, images, tmp_path):
    validation, test = images
    tensors = load_tensors(validation)
    tensors["images"][12:] //= 4  # of 24 images the first 12 are refined, the others the reference
    save_tensors(tmp_path / "darker", tensors)
    first, second = (
        pd.read_csv(run_stage(file, test, tmp_path / f"{file.name}_out") / "frontier.csv")
        for file in (validation, tmp_path / "darker")
    )
    assert first["diffusevae_ssim"].equals(second["diffusevae_ssim"])
    assert (first["ddpm_frechet"] != second["ddpm_frechet"]).all()
