"""Every stage, also those on demand, takes 64 x 64 colour images of a folder of one's own."""

import json
import math
import shlex

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from diffusevae.core.tensor_file import load_tensors
from diffusevae.core.yaml_file import read_yaml
from diffusevae.experiments.experiment import RAW, load_experiment
from diffusevae.metrics.metric import PAIRED
from diffusevae.stages.__main__ import _load
from diffusevae.stages.names import ON_DEMAND, STAGES
from diffusevae.tracking.stage_logger import StageLogger
from tasks.report.extension_page import render_tables
from tests.support.checkouts import ROOT
from tests.support.real_data import raw_folder

pytestmark = pytest.mark.slow  # a quarter of an hour
NAME, SPLITS = "colour", {"train": 128, "validation_images": 64, "test_images": 96}
COMMANDS = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]


def draw_pictures(folder) -> None:
    """Draw discs and squares, two classes of 64 x 64 pixels in any colours, as PNG files."""
    rng = np.random.default_rng(0)
    axis = np.arange(64)
    for name in ("discs", "squares"):
        (folder / name).mkdir(parents=True)
        for i in range(sum(SPLITS.values()) // 2):
            (x, y), reach = rng.integers(20, 44, 2), rng.integers(8, 18)
            far = np.stack(np.broadcast_arrays(abs(axis[:, None] - y), abs(axis - x)))
            inside = np.hypot(*far) < reach if name == "discs" else far.max(0) < reach
            back, front = rng.integers(0, 256, (2, 3))
            pixels = np.where(inside[..., None], front, back).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:03}.png")


def write_params() -> None:
    """Write smoke's settings for that folder, with classes told and less to do."""
    params = read_yaml(ROOT / "params.yaml")
    smoke, tiny = params["experiments"]["smoke"], params["datasets"]["mnist_tiny"]
    images = tiny["images"] | SPLITS | {"source": NAME, "image_size": 64, "train_images": None}
    del images["train"]
    once = {"epochs": 1, "snapshot_epochs": [1]}
    own = {
        "dataset": NAME,
        "unet": smoke["unet"] | {"labels": True},
        "prior": smoke["prior"] | {"per_class": True},
        "sample": {"num_images": 96, "num_generated": 96},
        "train_vae": smoke["train_vae"] | once | {"num_snapshot_codes": 64},
        "train_ddpm": smoke["train_ddpm"] | once | {"p_uncond": 0.1},
        "train_diffusevae": smoke["train_diffusevae"] | once | {"p_uncond": 0.1},
    }
    entry = tiny | {"images": images, "classifier": tiny["classifier"] | {"epochs": 1}}
    roots = {"datasets": {NAME: entry}, "experiments": {NAME: smoke | own}}
    with open("params.yaml", "w") as file:
        YAML().dump(roots | {"gate": params["gate"]}, file)


def run_stage(stage: str) -> None:
    """Run a stage's command of dvc.yaml in this process, without MLflow."""
    command = COMMANDS[stage]["do"]["cmd"]
    for place in ("${key}", "${item.dataset}", "${item.images.source}"):
        command = command.replace(place, NAME)
    module, params, arguments = _load(shlex.split(command)[4:])
    module.run(params, **arguments, log=StageLogger())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which every stage ran."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("colour"))
        draw_pictures(RAW / NAME)
        (RAW / "alexnet").symlink_to(raw_folder("alexnet"))
        write_params()
        experiment = load_experiment(NAME)
        for stage in (*STAGES[1:], *ON_DEMAND):
            run_stage(stage)
        yield experiment


def test_the_flow_s_stages_go_through_in_colour(made):
    generated = load_tensors(made.output("sample", "generated.safetensors"))
    assert {tuple(images.shape) for images in generated.values()} == {(96, 3, 64, 64)}
    metrics = json.loads(made.output("evaluate", "metrics.json").read_text())
    for name in PAIRED:  # LPIPS among them
        assert math.isfinite(metrics["paired"]["diffusevae"][name]["value"])
    assert sum(metrics["classes"]["real"]) == 96 and len(metrics["classes"]["real"]) == 2
    assert made.page.stat().st_size > 100_000


@pytest.mark.parametrize("stage", ON_DEMAND)
def test_every_stage_on_demand_leaves_tables_of_numbers_and_pictures(made, stage, tmp_path):
    tables = list(made.output(stage, "").glob("*.csv"))
    assert tables and list(made.output(stage, "").glob("*.png"))
    for path in tables:
        numbers = pd.read_csv(path).select_dtypes("number")
        assert len(numbers) and not np.isinf(numbers.to_numpy()).any()
    (tmp_path / stage).mkdir()
    (tmp_path / stage / NAME).symlink_to(made.output(stage, "").resolve())
    excerpt = {f"{stage}@{NAME}": {"params": {"params.yaml": {}}}}
    assert render_tables(tmp_path / stage / NAME, excerpt)  # so each column has words
