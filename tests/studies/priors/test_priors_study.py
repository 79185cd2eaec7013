"""First stages x priors: what fits, the range of codes for diffusion, and the stage."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.params import build
from diffusevae.core.tensor_file import load_tensors, save_tensors
from diffusevae.models.classifier import Classifier, ClassifierConfig, save_classifier
from diffusevae.models.latent_mixture import MixtureConfig
from diffusevae.models.vae import load_vae
from diffusevae.stages import priors as stage
from diffusevae.studies.priors.learned_priors import find_indices
from diffusevae.studies.priors.priors_study import (
    FLOOR,
    FirstStage,
    PriorsConfig,
    check_classes,
    read_best,
)
from diffusevae.tracking.stage_logger import StageLogger
from diffusevae.training.vae_training import TrainVAEConfig
from tests.support.toy_artifacts import DIFFUSION, write_models
from tests.support.toy_models import make_sampler, make_vae
from tests.support.toy_splits import write_split
from tests.support.toy_trainings import make_optimiser

STAGES = (
    FirstStage("gaussian", ("normal", "flow", "diffusion", "mixture")),
    FirstStage("vq", ("mixture", "autoregressive")),
    FirstStage("rae", ("mixture",)),
    FirstStage("gaussian", ("mixture", "normal"), labels=True),
)


@pytest.mark.parametrize(
    ("kind", "priors", "said"),
    [
        ("gaussian", ["mixture", "autoregressive"], "a code of kind gaussian has none"),
        ("rae", ["mixture", "autoregressive"], "a code of kind rae has none; take it out, or"),
        ("vq", ["autoregressive"], "expected the mixture and others"),
        ("vq", ["mixture", "mixture"], "each once"),
        ("vq", ["mixture", "vamp"], "'vamp' is none of normal, mixture"),
    ],
)
def test_a_prior_that_does_not_fit_a_code_is_refused(kind, priors, said):
    with pytest.raises(InputError, match=f"place.*{said}"):
        build(FirstStage, {"kind": kind, "priors": priors}, "place")


def test_indices_are_those_of_the_entries_that_codes_become():
    vae = make_vae(kind="vq", codebook_size=8)
    codes = torch.randn(5, *vae.latent_shape)
    indices = find_indices(vae, codes)
    assert indices.shape == (5, 64)
    looked_up = vae.codebook.look_up(indices.unflatten(1, (8, 8)))
    assert torch.equal(looked_up, vae.codebook.quantise(codes))


def test_the_best_prior_is_held_against_the_mixture():
    table = pd.DataFrame(
        {
            "kind": ["gaussian", "gaussian", "gaussian", "vq", "vq"],
            "prior": ["mixture", "diffusion", FLOOR, "mixture", FLOOR],
            "decoded_frechet": [10.0, 7.0, 2.0, 5.0, 4.0],
        }
    )
    best = read_best(table)
    assert list(best["prior"]) == ["diffusion", "mixture"]
    assert list(best["share"]) == pytest.approx([0.7, 1.0])
    assert list(best["least"]) == pytest.approx([0.2, 0.8])


def test_labels_are_refused_where_there_are_no_classes():
    config = PriorsConfig(STAGES, (1,), 1, 8, 2, 16, (4,), 10)
    check_classes(config, torch.arange(2))
    with pytest.raises(InputError, match="labels: true, but the training images have no classes"):
        check_classes(config, torch.zeros(3, dtype=torch.long))


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return the folder in which the stage has run twice, on noise of two classes."""
    monkeypatch.chdir(tmp_path)
    folders = write_models(tmp_path)
    vae = folders["train_vae"] / "model.safetensors"
    for seed, name in enumerate(("train", "validation", "test")):
        write_split(tmp_path / name, 24, seed)
        tensors = load_tensors(tmp_path / name)
        save_tensors(tmp_path / name, tensors | {"labels": torch.arange(24) % 2})
    torch.manual_seed(0)
    network = Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 2)
    save_classifier(tmp_path / "classifier", network)
    params = SimpleNamespace(
        key="smoke",
        seed=0,
        vae=load_vae(vae).config,
        vae_optimiser=make_optimiser(batch_size=8),
        train_vae=TrainVAEConfig(1, (1,), 8),
        prior=MixtureConfig(2, "diag", 5),
        diffusion=DIFFUSION,
        diffusion_optimiser=make_optimiser(batch_size=8),
        sampler=make_sampler(num_steps=2),
        priors=PriorsConfig(STAGES, (1, 2), 1, 8, 2, 16, (4, 10), 10),
    )
    for name in ("one", "two"):
        stage.run(
            params,
            **{each: tmp_path / each for each in ("train", "validation", "test", "classifier")},
            train_vae=folders["train_vae"],
            train_diffusevae=folders["train_diffusevae"],
            out=tmp_path / name,
            log=StageLogger(),
        )
    return tmp_path


def test_a_stage_writes_a_row_for_each_first_stage_and_prior_and_the_same_bytes_again(made):
    for file in ("table.csv", "mixtures.csv", "probes.csv", "table.png", "images.png"):
        assert (made / "one" / file).read_bytes() == (made / "two" / file).read_bytes(), file
    table = pd.read_csv(made / "one/table.csv")
    pairs = [(each.name, prior) for each in STAGES for prior in (*each.priors, FLOOR)]
    assert sorted(zip(table["kind"], table["prior"], strict=True)) == sorted(pairs)
    refined = table["refined_frechet"].notna()
    assert (refined == (table["kind"] == "gaussian")).all()
    told = table["recognised"].notna()
    assert (told == (table["kind"] == "gaussian-labels")).all()
    some = [c for c in table if c.startswith(("refined", "recognised"))]
    assert not table.drop(columns=some).isna().any().any()
    assert (table.loc[table["prior"] == "mixture", "decoded_change"] == 0).all()
    assert len(pd.read_csv(made / "one/mixtures.csv")) == 2 * len(STAGES)
    probes = pd.read_csv(made / "one/probes.csv")
    assert list(probes["features"].unique()) == [
        "gaussian codes",
        "vq codes",
        "rae codes",
        "pixels",
        "128 principal components",
    ]
