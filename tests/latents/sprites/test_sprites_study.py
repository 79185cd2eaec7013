"""What is trained on sprites, verdicts on it, and the stage at its smallest size."""

import dataclasses
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.params import load_sections
from diffusevae.latents.page.chapter import read_chapter
from diffusevae.latents.sprites.dsprites import FACTORS, draw_images, read_sprites
from diffusevae.latents.sprites.sprites_study import (
    SpritesConfig,
    choose_images,
    compare_objectives,
    share_of_objective,
)
from diffusevae.stages import sprites as stage
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.dvc_graph import ROOT
from tests.support.sprite_files import GEOMETRY, write_original

SMOKE = load_sections(
    ROOT / "params.yaml", "latent_studies", "latents_smoke", {"sprites": SpritesConfig}
).sprites


def test_no_image_is_in_two_sets(tmp_path):
    path = tmp_path / "dsprites.npz"
    write_original(path, (3, 2, 4, 2, 2))  # 96 random images: all differ
    config = dataclasses.replace(
        SMOKE, image_size=64, num_train_images=50, num_validation_images=6, num_test_images=40
    )
    read = read_sprites(path)
    images = choose_images(read, config, 0)
    every = torch.cat([images.train, images.validation, images.test]).flatten(1)
    assert len(every.unique(dim=0)) == 96
    numbers = images.factors @ torch.tensor([32, 16, 4, 2, 1])
    assert torch.equal(draw_images(read, numbers, 64), images.test)
    with pytest.raises(InputError, match="ask for 97 images of 96"):
        choose_images(read, dataclasses.replace(config, num_test_images=41), 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seeds": (0, 0)}, "seeds: .*each once"),
        ({"seeds": ()}, "seeds: expected one or more"),
        ({"vae": dataclasses.replace(SMOKE.vae, latents=1)}, "no second latent"),
    ],
)
def test_impossible_studies_are_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(SMOKE, **changes)


def test_verdicts_follow_the_exact_test_of_the_ranks():
    """Of 5 against 5 without overlap p = 2 / (10 choose 5) = 2 / 252."""
    table = pd.DataFrame(
        {
            "objective": ["factor_vae"] * 5 + ["beta_vae"] * 5,
            "mig": [0.6, 0.7, 0.8, 0.9, 1.0, 0.1, 0.2, 0.3, 0.4, 0.5],
            "mixed": [1, 4, 5, 8, 9, 2, 3, 6, 7, 10],
        }
    )
    better = compare_objectives(table, "factor_vae", "beta_vae", "mig")
    assert better.p == pytest.approx(2 / 252) and better.verdict == "holds"
    assert (better.left, better.right) == pytest.approx((0.8, 0.3))
    assert compare_objectives(table, "beta_vae", "factor_vae", "mig").verdict == "fails"
    assert compare_objectives(table, "beta_vae", "factor_vae", "mixed").verdict == "open"


def test_the_objective_s_share_of_the_variance():
    """Two groups of variance 1 whose means lie 2 apart: 1 of the total variance of 2."""
    table = pd.DataFrame({"objective": ["a", "a", "b", "b"], "mig": [0.0, 2.0, 2.0, 4.0]})
    assert share_of_objective(table, "mig") == pytest.approx(0.5)
    assert share_of_objective(table.assign(mig=1.0), "mig") == 0


def test_the_stage_trains_every_objective_and_resumes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = SimpleNamespace(key="latents_smoke", seed=0, sprites=SMOKE)

    class Stopping(StageLogger):
        def trial(self, number, values):
            if number == "beta_tcvae-0":
                raise KeyboardInterrupt
            return super().trial(number, values)

    stage.run(params, source=GEOMETRY, out=tmp_path / "out", log=StageLogger())
    with pytest.raises(KeyboardInterrupt):
        stage.run(params, source=GEOMETRY, out=tmp_path / "again", log=Stopping())
    assert len(list((tmp_path / "scratch/progress").glob("sprites-*"))) == 3
    stage.run(params, source=GEOMETRY, out=tmp_path / "again", log=StageLogger())
    written = {path.name for path in (tmp_path / "out").iterdir()}
    chapter = read_chapter(tmp_path / "out")
    named = {part.file for part in (*chapter.pictures, *chapter.tables)}
    assert written == named | {"chapter.json"}
    for name in written:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    runs = pd.read_csv(tmp_path / "out/runs.csv")
    assert runs["objective"].tolist() == [
        "beta_vae",
        "annealed_capacity",
        "factor_vae",
        "beta_tcvae",
    ]
    assert runs["kl"].nunique() == 4 and not runs.isna().any().any()
    assert len(pd.read_csv(tmp_path / "out/table.csv")) == 4
    assert not list((tmp_path / "scratch/progress").glob("*"))
    assert set(FACTORS) == {"shape", "scale", "orientation", "x", "y"}
