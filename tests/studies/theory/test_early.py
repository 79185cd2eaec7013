"""DiffuseVAE early against the VAE: which weights, and what is proven."""

import shutil

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.models.classifier import Classifier, ClassifierConfig
from diffusevae.studies.theory.early import VAE, MadeImages, compare_early, find_early, judge
from tests.support.toy_artifacts import make_images

REAL = make_images(60)


@pytest.mark.parametrize(
    ("change", "direction", "verdict"),
    [
        ((0.1, 0.2), "higher", "better"),
        ((0.1, 0.2), "lower", "worse"),
        ((-0.2, -0.1), "lower", "better"),
        ((-0.1, 0.2), "higher", "not proven"),
    ],
)
def test_a_verdict_needs_an_interval_on_one_side_of_zero(change, direction, verdict):
    low, high = change
    assert judge({"value": sum(change) / 2, "low": low, "high": high}, direction) == verdict


def test_the_first_epoch_kept_is_compared_and_the_finished_model_if_it_is_another(tmp_path):
    kept = tmp_path / "snapshots"
    kept.mkdir()
    for epoch in (5, 50):
        (kept / f"epoch_{epoch:04d}.safetensors").write_text(f"{epoch}")
    (tmp_path / "model.safetensors").write_text("37")
    names = {"DiffuseVAE, epoch 5": kept / "epoch_0005.safetensors"}
    finished = {"DiffuseVAE, finished": tmp_path / "model.safetensors"}
    assert find_early(tmp_path) == names | finished
    (tmp_path / "model.safetensors").write_text("5")
    assert find_early(tmp_path) == names
    shutil.rmtree(kept)
    with pytest.raises(InputError, match="name one in train_diffusevae.snapshot_epochs"):
        find_early(tmp_path)


def test_what_is_nearer_to_the_images_is_better_by_every_measure():
    torch.manual_seed(0)
    classifier = Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 10).eval()
    rough = 0.1 * make_images(60, 1)
    near = (0.99 * REAL + 0.01 * make_images(60, 2)).clamp(0, 1)
    said: list[str] = []
    table = compare_early(
        {VAE: MadeImages(rough, rough), "DiffuseVAE, epoch 1": MadeImages(near, near)},
        REAL,
        classifier,
        0,
        50,
        said.append,
    )
    early = table[table["model"] != VAE].set_index("measure")
    assert set(early["verdict"]) == {"better"} and len(early) == len(said) == 4
    before = table[table["model"] == VAE].set_index("measure")
    change = early.loc["ssim", "value"] - before.loc["ssim", "value"]
    assert early.loc["ssim", "change"] == pytest.approx(change)
    assert before["verdict"].isna().all()
