"""The VAE's new images by epoch: what is read, and what is proven."""

import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import save_tensors
from diffusevae.models.classifier import Classifier, ClassifierConfig
from diffusevae.studies.theory.epochs import compare_epochs, read_drawn
from tests.support.toy_artifacts import make_images


def test_images_are_read_by_epoch_and_a_training_that_kept_none_has_none(tmp_path):
    assert read_drawn(tmp_path) == {}
    for epoch in (50, 5):
        drawn = torch.full((2, 1, 4, 4), epoch, dtype=torch.uint8)
        save_tensors(tmp_path / f"snapshots/epoch_{epoch:04d}.safetensors", {"drawn": drawn})
    found = read_drawn(tmp_path)
    assert list(found) == [5, 50] and float(found[50].max()) == pytest.approx(50 / 255)
    save_tensors(tmp_path / "snapshots/epoch_0060.safetensors", {"mu": torch.zeros(1)})
    with pytest.raises(InputError, match="epoch_0060.* make it again with the stage train_vae"):
        read_drawn(tmp_path)


def test_an_epoch_nearer_to_real_images_is_better_than_the_first_and_the_same_is_not_proven():
    torch.manual_seed(0)
    classifier = Classifier(ClassifierConfig(4, 8, 0.0, 1), (1, 16, 16), 10).eval()
    real, rough, near = make_images(60), 0.1 * make_images(60, 1), make_images(60, 2)
    said: list[str] = []
    table = compare_epochs({5: rough, 20: near, 50: rough}, real, classifier, said.append)
    assert table["epoch"].tolist() == [5, 20, 50] and set(table["num_drawn"]) == {60}
    assert table["verdict"].tolist()[1:] == ["better", "not proven"] and len(said) == 2
    assert table["frechet_new"][1] < table["frechet_new"][0] == table["frechet_new"][2]
    assert table["since_first"].isna().tolist() == [True, False, False]
    assert table["since_first"][2] == pytest.approx(0, abs=1e-9)
