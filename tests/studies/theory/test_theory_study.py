"""The stage: every part's table and figures."""

import shutil
from types import SimpleNamespace

import pandas as pd
import torch

from diffusevae.core.tensor_file import save_tensors
from diffusevae.models.classifier import Classifier, ClassifierConfig, save_classifier
from diffusevae.stages import theory as stage
from diffusevae.studies.theory.theory_config import TheoryConfig
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.toy_artifacts import make_images, write_models
from tests.support.toy_models import make_sampler, make_vae
from tests.support.toy_splits import write_split
from tests.support.toy_trainings import make_optimiser

TABLES = {"toy": 10, "entropy": 3, "codes": 3, "early": 8, "detail": 7, "epochs": 2}
FIGURES = ("toy_moments", "toy_paths", "entropy", "codes", "early", "detail")


def test_the_stage_writes_all_parts_and_leaves_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = write_models(tmp_path)
    finished = folders["train_diffusevae"] / "model.safetensors"
    kept = folders["train_diffusevae"] / "snapshots"
    kept.mkdir()
    shutil.copy(finished, kept / "epoch_0001.safetensors")
    for epoch in (1, 2):
        drawn = {"drawn": (255 * make_images(20, epoch)).byte()}
        save_tensors(folders["train_vae"] / f"snapshots/epoch_{epoch:04d}.safetensors", drawn)
    paths = {name: tmp_path / name for name in ("train", "validation", "test")}
    for seed, (path, count) in enumerate(zip(paths.values(), (20, 8, 14), strict=True)):
        write_split(path, count, seed)
    torch.manual_seed(0)
    save_classifier(
        tmp_path / "classifier", Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 10)
    )
    params = SimpleNamespace(
        key="toy",
        seed=0,
        vae=make_vae().config,
        vae_optimiser=make_optimiser(learning_rate=1e-3),
        sampler=make_sampler(num_steps=2),
        theory=TheoryConfig(12, 10, 3, 40, 8, 16, 1, 1e-4, 0.25),
    )
    stage.run(
        params,
        **paths,
        **folders,
        classifier=tmp_path / "classifier",
        out=tmp_path / "out",
        log=StageLogger(),
    )
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {f"{name}.csv" for name in TABLES} | {f"{name}.png" for name in FIGURES}
    for name, rows in TABLES.items():
        table = pd.read_csv(tmp_path / f"out/{name}.csv")
        assert len(table) == rows, name
        changes = table.filter(regex="change|since_first|verdict").columns
        assert not table.drop(columns=changes).isna().any().any()
    assert not list((tmp_path / "scratch/progress").glob("*"))
