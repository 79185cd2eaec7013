"""The stage distil: a point for each sampler and student, in the frontier's columns."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from diffusevae.core.tensor_file import load_config
from diffusevae.models.classifier import Classifier, ClassifierConfig, save_classifier
from diffusevae.models.diffusion import check_pair, load_diffusion
from diffusevae.sampling.generation import load_pair
from diffusevae.stages import distil as stage
from diffusevae.studies.distillation.distillation import DistilConfig
from diffusevae.studies.distillation.distillation_results import Student, list_judged
from diffusevae.studies.frontier.frontier_study import FrontierConfig
from diffusevae.studies.frontier.non_inferiority import QUANTITIES, Margins
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.toy_artifacts import write_models
from tests.support.toy_models import make_diffusion, make_sampler
from tests.support.toy_splits import write_split
from tests.support.toy_trainings import make_optimiser

PARAMS = SimpleNamespace(
    key="toy",
    seed=0,
    sampler=make_sampler(num_steps=3, batch_size=50),
    frontier=FrontierConfig(("unipc",), (0.0,), (9,), 6, 12, 10, Margins(0.5, 100.0)),
    distil=DistilConfig((4, 2, 1), 1, 16, make_optimiser(batch_size=8), (1, 3)),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder in which the stage has run twice, on noise."""
    tmp_path = tmp_path_factory.mktemp("distil")
    folders = write_models(tmp_path)
    for seed, name in enumerate(("train", "validation")):
        write_split(tmp_path / name, 24, seed)
    torch.manual_seed(0)
    network = Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 10)
    save_classifier(tmp_path / "classifier", network)
    inputs = {each: tmp_path / each for each in ("train", "validation", "classifier")}
    inputs |= {each: folders[each] for each in ("train_vae", "train_diffusevae")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for name in ("one", "two"):
            stage.run(PARAMS, **inputs, out=tmp_path / name, log=StageLogger())
    return tmp_path


def test_the_stage_writes_a_row_for_each_point_and_the_same_bytes_again(made):
    students = [made / "one/students" / f"{number}_steps.safetensors" for number in (2, 1)]
    files = ["table.csv", "table.png", "images.png", "history.csv"]
    for file in [*files, *(f"students/{path.name}" for path in students)]:
        assert (made / "one" / file).read_bytes() == (made / "two" / file).read_bytes(), file
    table = pd.read_csv(made / "one/table.csv")
    points = list(zip(table["sampler"], table["num_steps"], strict=True))
    teachers = [("ddim", 3), ("ddim", 1), ("ddim_ahead", 1)]
    assert points == [*teachers, ("distilled", 2), ("distilled", 1)]
    for name in QUANTITIES[1:]:
        assert (table[f"{name}_low"] <= table[f"{name}_change"]).all()
        assert table[f"{name}_converged"].nunique() == 1 and name in table
    assert (table["departure_low"] <= table["departure"]).all()
    measure = table.iloc[0]  # ddim, in the most steps of the teacher
    assert measure["diffusevae_frechet_change"] == measure["departure"] == 0
    assert table["frechet_net_ratio"].isna().all()  # images that are no further than real ones
    assert (table["departure"].drop(0) > 0).all()
    history = pd.read_csv(made / "one/history.csv")
    assert list(history["num_steps"]) == [2, 1] and history["train_loss"].notna().all()


def test_a_student_is_a_diffusevae_of_the_same_vae(made):
    teacher = load_config(made / "train_diffusevae/model.safetensors")
    for number in (2, 1):
        path = made / "one/students" / f"{number}_steps.safetensors"
        pair = load_pair(
            made / "train_vae/model.safetensors", made / "train_vae/prior.safetensors", path, "cpu"
        )
        check_pair(path, teacher["vae_sha256"])
        assert load_config(path) == teacher and pair.diffusevae.p_uncond == 0
        assert load_diffusion(path).unet.conditional


def test_students_take_their_own_steps_unguided_and_the_teacher_those_that_are_compared():
    teacher, one, two = (make_diffusion("v") for _ in range(3))
    students = [Student(2, two, []), Student(1, one, [])]
    params = SimpleNamespace(**vars(PARAMS) | {"sampler": make_sampler(guidance=1.0, eta=1.0)})
    points = list_judged(teacher, students, params)
    assert all(config.guidance == (model is teacher) for _, model, config in points)
    assert all(config.eta == 0 and config.spacing == "trailing" for *_, config in points)
    assert [(model, config.num_steps) for _, model, config in points[-2:]] == [(two, 2), (one, 1)]
