"""The sweep of guidance: what it asks of models, what it measures, the stage."""

import dataclasses
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import sha256_of
from diffusevae.models.classifier import Classifier, ClassifierConfig, save_classifier
from diffusevae.models.diffusion import save_diffusion
from diffusevae.models.latent_mixture import Mixture, save_mixture
from diffusevae.models.vae import save_vae
from diffusevae.sampling.generation import Models
from diffusevae.sampling.samplers import sample
from diffusevae.stages import guide as stage
from diffusevae.studies.guidance.guidance_study import (
    ALL_GUIDED,
    GuideConfig,
    Guided,
    choose_weight,
    make_images,
    make_subject,
    measure_images,
    require_guidable,
)
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.toy_models import make_diffusion, make_sampler, make_vae
from tests.support.toy_splits import write_split

SAMPLER = make_sampler(num_steps=2, batch_size=16)
CONFIG = GuideConfig((0.0, 1.0), (2.0,), 16, 3)


@pytest.fixture
def models() -> Models:
    """Untrained models of two classes, whose codes are all -2 and all 2."""
    means = torch.tensor([[-2.0], [2.0]]).expand(2, 48).clone()
    weights, classes = torch.tensor([0.5, 0.5]), torch.tensor([0, 1])
    mixture = Mixture(weights, means, torch.zeros(2, 48), (3, 4, 4), classes)
    ddpm, diffusevae = (
        make_diffusion("v", conditional=each, num_classes=2).eval() for each in (False, True)
    )
    ddpm.p_uncond = diffusevae.p_uncond = 0.1
    vae = make_vae(image_shape=(1, 16, 16)).eval().requires_grad_(False)
    nn.init.normal_(vae.decoder.layers[-1].weight)  # else all pictures are grey
    return Models(vae, mixture, diffusevae, ddpm)


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 2).eval().requires_grad_(False)


def test_models_that_know_no_class_or_nothing_else_are_one_line(models):
    require_guidable(models)
    models.ddpm.p_uncond = 0.0
    with pytest.raises(InputError, match="^guide: train_ddpm was trained without classes or never"):
        require_guidable(models)
    plain = dataclasses.replace(models, ddpm=make_diffusion("v").eval())
    with pytest.raises(InputError, match="^guide: train_ddpm was trained without classes"):
        require_guidable(plain)


def test_without_weight_all_ways_of_a_model_are_the_same_and_the_classifier_pulls_at_none(
    models, classifier
):
    subject = make_subject(models, 4, 0)
    assert subject.labels.tolist() == [0, 1, 0, 1]
    made = {
        way.name: make_images(models, way, 0.0, SAMPLER, subject, classifier, 0)
        for way in ALL_GUIDED
    }
    same = [made[f"DiffuseVAE, by {by}"] for by in ("labels", "x_hat", "all")]
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], same[2])
    torch.testing.assert_close(made["DDPM, by classifier"], sample(models.ddpm, SAMPLER, 4, 1))
    pulled = make_images(models, Guided("DDPM", "classifier"), 5.0, SAMPLER, subject, classifier, 0)
    assert not torch.allclose(pulled, made["DDPM, by classifier"])
    strong = [
        make_images(models, Guided("DiffuseVAE", by), 2.0, SAMPLER, subject, classifier, 0)
        for by in ("labels", "x_hat", "all")
    ]
    assert not torch.equal(strong[0], strong[1]) and not torch.equal(strong[0], strong[2])


class ByBrightness(nn.Module):
    """Takes bright images for class 1; the features are the mean of each quarter."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def features(self, x):
        return nn.functional.avg_pool2d(x, 8).flatten(1)

    def forward(self, x):
        bright = x.mean((1, 2, 3)) - 0.5
        return torch.stack([-bright, bright], dim=1)


def test_the_share_recognised_has_wilsons_interval():
    """8 of 10: 0.4902 to 0.9433 (Wilson, by hand)."""
    noise = torch.rand(10, 1, 16, 16, generator=torch.Generator().manual_seed(0)) / 10
    bright = torch.arange(10) % 2 == 1
    images = torch.where(bright[:, None, None, None], 0.9, 0.0) + noise
    labels = bright.long()
    labels[:2] = 1 - labels[:2]
    row = measure_images(images, labels, ByBrightness(), (255 * images).byte(), 3)
    assert row["recognised"] == 0.8
    assert (row["recognised_low"], row["recognised_high"]) == pytest.approx(
        (0.4902, 0.9433), abs=1e-4
    )
    assert row["frechet"] == pytest.approx(0, abs=1e-4)
    assert row["precision"] == row["recall"] == 1


def test_the_weight_chosen_is_that_of_the_smallest_distance():
    rows = [
        ("DiffuseVAE, by all", 0.0, 3.0),
        ("DiffuseVAE, by all", 1.0, 2.0),
        ("DDPM, by labels", 2.0, 1.0),
    ]
    table = pd.DataFrame(rows, columns=["way", "weight", "frechet"])
    assert choose_weight(table, "all") == 1.0


def test_a_stage_writes_a_row_for_each_way_and_weight(models, classifier, tmp_path):
    for name in ("vae", "ddpm", "diffusevae"):
        (tmp_path / name).mkdir()
    save_vae(tmp_path / "vae/model.safetensors", models.vae)
    save_mixture(tmp_path / "vae/prior.safetensors", models.mixture)
    save_diffusion(tmp_path / "ddpm/model.safetensors", models.ddpm)
    hashed = sha256_of(tmp_path / "vae/model.safetensors")
    save_diffusion(tmp_path / "diffusevae/model.safetensors", models.diffusevae, hashed)
    save_classifier(tmp_path / "classifier", classifier)
    write_split(tmp_path / "images", 20, 0)
    sampler = dataclasses.replace(SAMPLER, guidance=1.0, guided_by="labels")
    stage.run(
        SimpleNamespace(seed=0, sampler=sampler, guide=CONFIG),
        validation=tmp_path / "images",
        train_vae=tmp_path / "vae",
        train_ddpm=tmp_path / "ddpm",
        train_diffusevae=tmp_path / "diffusevae",
        classifier=tmp_path / "classifier",
        out=tmp_path / "out",
        log=StageLogger(),
    )
    table = pd.read_csv(tmp_path / "out/table.csv")
    assert len(table) == 4 * 2 + 1
    [used] = table[table["registered"]].to_dict("records")
    assert (used["way"], used["weight"]) == ("DiffuseVAE, by labels", 1.0)
    assert (tmp_path / "out/table.png").stat().st_size > 10_000
