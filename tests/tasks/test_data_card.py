"""The part of a model's card that is on its data."""

from diffusevae.core.tensor_file import sha256_of
from diffusevae.experiments.experiment import Experiment
from tasks.registry.data_card import write_data_card
from tests.support.toy_registry import TOY
from tests.support.toy_splits import write_split


def test_a_card_names_origin_licence_and_each_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = TOY.data("prepared", "train.safetensors")
    write_split(path, 7, 0)
    card = write_data_card(TOY)
    assert "of MNIST (LeCun" in card and "CC BY-SA 3.0" in card
    assert f"- train: 7 images, SHA-256 {sha256_of(path)}" in card
    assert "- test: not at hand when this was registered" in card


def test_of_a_folder_of_one_s_own_its_owner_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = write_data_card(Experiment("ours", "ours", "leaves"))
    assert "the folder data/raw/leaves of whoever registered it" in card
