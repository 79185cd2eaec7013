"""The robustness card: what is measured of a case, and the stage."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from diffusevae.models.classifier import Classifier, ClassifierConfig, save_classifier
from diffusevae.sampling.generation import load_pair
from diffusevae.stages import robustness as stage
from diffusevae.studies.robustness.robustness_study import (
    IMAGE,
    UNDAMAGED,
    X_HAT,
    Case,
    RobustnessConfig,
    list_cases,
    measure_case,
    read_ladder,
)
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.toy_artifacts import make_images, write_models
from tests.support.toy_models import make_sampler
from tests.support.toy_splits import write_split

REAL = make_images(6)
LABELS = torch.tensor([0, 1, 0, 1, 0, 1])


def by_brightness(images: torch.Tensor) -> torch.Tensor:
    """Classify: 1 where an image's first pixel is bright."""
    return (images[:, 0, 0, 0] > 0.5).long()


def measure(x_hat: torch.Tensor, refined: torch.Tensor) -> dict:
    case = Case(IMAGE, "noise", 0.1, REAL, REAL, x_hat)
    return measure_case(case, refined, LABELS, by_brightness, 0, 50)


def test_a_perfect_repair_takes_away_all_of_the_error():
    damaged = (REAL + 0.1).clamp(0, 1)
    row = measure(damaged, REAL)
    assert row["refined_ssim"] == pytest.approx(1)
    assert row["repaired"] == pytest.approx(float((damaged - REAL).square().mean()))
    assert row["repaired_low"] > 0


def test_what_follows_x_hat_repairs_nothing():
    damaged = (REAL + 0.1).clamp(0, 1)
    row = measure(damaged, damaged)
    assert row["followed"] == pytest.approx(1) and row["repaired"] == 0
    assert row["x_hat_ssim"] == row["refined_ssim"] < 1


def test_the_share_recognised_is_that_of_the_classes_asked_for():
    images = torch.zeros_like(REAL)
    images[[1, 3], :, 0, 0] = 1  # of the three with label 1, two are recognised
    row = measure(images, torch.zeros_like(REAL))
    assert row["x_hat_right"] == pytest.approx(5 / 6) and row["refined_right"] == 0.5


@pytest.fixture
def pair(tmp_path):
    """Untrained models that belong together."""
    folders = write_models(tmp_path)
    files = [folders["train_vae"] / f"{name}.safetensors" for name in ("model", "prior")]
    return load_pair(*files, folders["train_diffusevae"] / "model.safetensors", torch.device("cpu"))


def test_what_can_be_restored_is_held_against_the_image_and_what_is_foreign_against_itself(pair):
    cases = {(case.place, case.kind): case for case in list_cases(pair, REAL)}
    assert torch.equal(cases[IMAGE, UNDAMAGED].wanted, REAL)
    assert torch.equal(cases[IMAGE, "cut-out"].wanted, REAL)
    assert not torch.equal(cases[IMAGE, "cut-out"].given, REAL)
    assert torch.equal(cases[IMAGE, "inverted"].wanted, 1 - REAL)
    assert torch.equal(cases[X_HAT, "noise"].x_hat, cases[X_HAT, "noise"].given)
    assert (X_HAT, "moved") not in cases


def test_a_stage_writes_a_row_for_each_case_and_the_same_bytes_again(tmp_path):
    folders = write_models(tmp_path)
    write_split(tmp_path / "test", 8, 0)
    torch.manual_seed(0)
    save_classifier(
        tmp_path / "classifier", Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 10)
    )
    params = SimpleNamespace(
        seed=0, sampler=make_sampler(num_steps=2), robustness=RobustnessConfig(6, 10)
    )
    for name in ("one", "two"):
        stage.run(
            params,
            test=tmp_path / "test",
            train_vae=folders["train_vae"],
            train_diffusevae=folders["train_diffusevae"],
            classifier=tmp_path / "classifier",
            out=tmp_path / name,
            log=StageLogger(),
        )
    for file in ("table.csv", "table.png", "images.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    table = pd.read_csv(tmp_path / "one/table.csv")
    assert len(table) == 1 + 5 * 3 + 3 * 3 and not table.isna().any().any()
    ladder = read_ladder(table, X_HAT, "blur")
    assert [UNDAMAGED, "blur", "blur", "blur"] == list(ladder["kind"])
