"""Restoration: what each method is given and keeps, and the stage."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.params import build
from diffusevae.sampling.generation import load_models
from diffusevae.stages import restore as stage
from diffusevae.studies.restoration.inpainting_study import fill_all_ways
from diffusevae.studies.restoration.masks import MASKS, check_mask
from diffusevae.studies.restoration.restoration_config import (
    RestoreConfig,
    choose_images,
    choose_sampler,
)
from diffusevae.studies.restoration.restored import DDPM_ONE_STEP, DDPM_REPAINT
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.toy_artifacts import SHAPE, make_images, write_models
from tests.support.toy_models import make_sampler
from tests.support.toy_splits import write_split

VALUES = dict(
    num_images=3,
    num_settings_images=2,
    num_resamples=10,
    noise_levels=(0.2,),
    num_steps=2,
    num_rounds=2,
    num_samples=2,
    num_codes=3,
    code_steps=1,
    code_learning_rate=0.1,
    spread=0.1,
)
CONFIG = RestoreConfig(**VALUES)


def test_every_method_keeps_the_known_pixels_and_sees_no_unknown_one(tmp_path):
    models = load_models(*write_models(tmp_path).values(), torch.device("cpu"))
    known = check_mask(MASKS["right half"](*SHAPE[1:]), SHAPE)
    sampler = choose_sampler(make_sampler(), CONFIG)
    test = make_images(3, 2)
    made = []
    for hidden in (0.0, 1.0):
        changed = known * test + (1 - known) * hidden
        images = choose_images(CONFIG, make_images(20, 0), make_images(4, 1), changed)
        made.append(fill_all_ways(models, sampler, CONFIG, images, known, 0))
    for name, one in made[0].items():
        assert torch.equal(one.images, made[1][name].images), name
        assert torch.equal(one.images * known, test * known), name
        assert one.images.min() >= 0 and one.images.max() <= 1
    assert sum(each.classical for each in made[0].values()) == 3


def test_a_stage_writes_a_row_for_each_damage_and_method_and_the_same_bytes_again(tmp_path):
    folders = write_models(tmp_path)
    for seed, part in enumerate(("train", "validation", "test")):
        write_split(tmp_path / part, 8, seed)
    params = SimpleNamespace(seed=0, sampler=make_sampler(), restore=CONFIG)
    for name in ("one", "two"):
        stage.run(
            params,
            **{part: tmp_path / part for part in ("train", "validation", "test")},
            **folders,
            out=tmp_path / name,
            log=StageLogger(),
        )
    for file in ("table.csv", "table.png", "images.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    table = pd.read_csv(tmp_path / "one/table.csv").set_index("method")
    assert len(table) == 5 * (3 + 6) + (5 + 4)
    assert not table.drop(columns="setting").isna().any().any()
    assert set(table.loc[DDPM_REPAINT, "task"]) == {"inpainting"}
    assert table.loc[DDPM_ONE_STEP, "kind"] == "noise 0.2"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"noise_levels": []}, "noise_levels: expected one or more"),
        ({"noise_levels": [0]}, "noise_levels"),
        ({"num_codes": 0}, "num_codes: 0 is out of range"),
    ],
)
def test_an_impossible_section_is_one_line(changes, reason):
    with pytest.raises(InputError, match=reason):
        build(RestoreConfig, VALUES | changes, "restore")
