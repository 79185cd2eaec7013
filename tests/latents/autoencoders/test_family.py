"""The stage of the autoencoder family, run whole at its smallest size."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.params import load_sections
from diffusevae.core.tensor_file import save_tensors, sha256_of
from diffusevae.latents.autoencoders import part
from diffusevae.latents.page.chapter import FILE, read_chapter
from diffusevae.models.classifier import Classifier, ClassifierConfig, save_classifier
from diffusevae.models.diffusion import DiffusionModel, save_diffusion
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae import VAE, VAEConfig, save_vae
from diffusevae.stages import autoencoders as stage
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.checkouts import ROOT
from tests.support.nuclei import write_nuclei

PARAMS = ROOT / "params.yaml"
COUNTS = {"train": 48, "validation": 24, "test": 70, "other_train": 64, "other_test": 40}


def load_params():
    params = load_sections(PARAMS, stage.ROOT, "latents_smoke", stage.SECTIONS)
    params.key = "latents_smoke"
    return params


def write_inputs(folder: Path) -> dict[str, Path]:
    """Write small inputs of every kind: splits of 32 x 32, a classifier, untrained models."""
    torch.manual_seed(0)
    names = [*COUNTS, "classifier", "train_vae", "train_diffusevae", "nuclei"]
    paths = {name: folder / name for name in names}
    for name, count in COUNTS.items():
        save_tensors(
            paths[name],
            {
                "images": (torch.rand(count, 1, 32, 32) ** 3 * 255).byte(),
                "labels": torch.arange(count) % 10,
                "indices": torch.arange(count),
            },
        )
    shape = (1, 32, 32)
    save_classifier(paths["classifier"], Classifier(ClassifierConfig(4, 8, 0.0, 1), shape, 10))
    save_vae(
        paths["train_vae"] / "model.safetensors",
        VAE(VAEConfig(2, 4, (1, 2), (), 0.0, "mse", 1e-5), shape),
    )
    unet = UNetConfig(4, (1, 2), 1, (), 2, 8, 0.0, ("in",))
    diffusion = DiffusionConfig("cosine", 20, 1e-4, 0.02, "v", "centred", True)
    save_diffusion(
        paths["train_diffusevae"] / "model.safetensors",
        DiffusionModel(diffusion, unet, shape, True),
        sha256_of(paths["train_vae"] / "model.safetensors"),
    )
    rng = np.random.default_rng(0)
    write_nuclei(paths["nuclei"], rng.integers(1, 200, (256, 128)), rng.integers(0, 2, (256, 128)))
    return paths


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path]:
    return write_inputs(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def outputs(inputs, tmp_path_factory) -> list[Path]:
    """The stage's output folder, of two runs; the second draws nothing, to be quick."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # for scratch/progress
        stage.run(load_params(), **inputs, out=folder / "one", log=StageLogger())
        assert not list((folder / "scratch/progress").glob("autoencoders*"))
        patch.setattr(part, "save_figure", lambda _, path: path.touch())
        stage.run(load_params(), **inputs, out=folder / "two", log=StageLogger())
    return [folder / "one", folder / "two"]


def test_every_part_of_the_family_is_in_the_chapter(outputs):
    chapter = read_chapter(outputs[0])
    tables = {table.file for table in chapter.tables}
    assert tables >= {
        f"{name}.csv"
        for name in (
            "undercomplete",
            "sparse",
            "stacked",
            "denoising",
            "super_resolution",
            "manifold",
            "other_data",
            "interpolation",
            "holes",
            "segmentation",
            "losses",
        )
    }
    assert len(chapter.pictures) >= 20 and len(chapter.claims) >= 12
    assert all(
        claim.evidence and any(c.isdigit() for c in claim.evidence) for claim in chapter.claims
    )
    assert all(one.low <= one.value <= one.high for one in chapter.headlines)


def test_the_same_inputs_give_the_same_bytes(outputs):
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in outputs)
    assert sorted(one) == sorted(two) and FILE in one
    assert {name for name in one if one[name] != two[name]} == {
        name for name in one if name.endswith(".png")
    }


def test_tables_have_a_row_for_all_that_was_asked_for(outputs):
    config = load_params().autoencoders
    tables = {path.stem: pd.read_csv(path) for path in outputs[0].glob("*.csv")}
    assert len(tables["undercomplete"]) == 3 * len(config.undercomplete.latents)
    assert list(tables["sparse"]["lambda"]) == list(config.sparse.penalties)
    assert set(tables["denoising"]["noise"]) == set(config.restoration.noise_levels)
    assert set(tables["super_resolution"]["factor"]) == set(config.restoration.factors)
    assert len(tables["other_data"]) == 8
    assert len(tables["interpolation_summary"]) == 5
    assert len(tables["interpolation"]) == 5 * config.interpolation.num_steps
    assert len(tables["holes"]) == 7
    assert set(tables["segmentation"]["task"]) == {"digits", "nuclei"}
    assert list(tables["losses"]["trained_on"]) == ["mse", "bce", "l1"]


def test_ends_of_a_cross_fade_are_the_images_themselves(outputs, inputs):
    """So what the classifier says of them it also says of the test images."""
    from diffusevae.data.dataset import load_split
    from diffusevae.models.classifier import classify, load_classifier

    table = pd.read_csv(outputs[0] / "interpolation.csv")
    first = table[(table["method"] == "pixel cross-fade") & (table["share"] == 0)].iloc[0]
    split, count = load_split(inputs["test"]), load_params().autoencoders.interpolation.num_pairs
    threes = split.images[split.labels == 3][:count]
    chances = classify(load_classifier(inputs["classifier"]), threes).softmax(1)
    assert first["p_3"] == pytest.approx(float(chances[:, 3].mean()), rel=1e-5)
    assert first["confidence"] == pytest.approx(float(chances.amax(1).mean()), rel=1e-5)


def test_models_of_other_shapes_or_of_another_vae_are_one_line(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 10)
    save_classifier(tmp_path / "small", small)
    wrong = inputs | {"classifier": tmp_path / "small"}
    with pytest.raises(
        InputError,
        match="the classifier has images of 1 x 16 x 16, the data set 1 x 32 x 32; choose",
    ):
        stage.run(load_params(), **wrong, out=tmp_path / "out", log=StageLogger())
    other = VAE(VAEConfig(3, 4, (1, 2), (), 0.0, "mse", 1e-5), (1, 32, 32))
    save_vae(tmp_path / "vae/model.safetensors", other)
    with pytest.raises(InputError, match="was trained on the VAE .*, not on"):
        stage.run(
            load_params(),
            **inputs | {"train_vae": tmp_path / "vae"},
            out=tmp_path / "out",
            log=StageLogger(),
        )
    assert not (tmp_path / "out").exists()
