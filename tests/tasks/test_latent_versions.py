"""The registry holds latent models: what comes back, what is found damaged or refused."""

import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from apps.explore.server import explore
from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.core.tensor_file import sha256_of
from diffusevae.models.diffusion import DiffusionModel, save_diffusion
from tasks.registry.latents import download, find_version
from tests.support.toy_artifacts import SHAPE, change_code
from tests.support.toy_latents import (
    CARDS,
    LATENTS,
    TOY,
    make_model,
    make_test_images,
    register_toy,
    write_checkout,
)


@pytest.fixture
def store(mlflow_store, tmp_path):
    write_checkout(tmp_path)
    return mlflow_store


def test_the_registry_gives_back_what_the_study_made(store, tmp_path):
    assert find_version(TOY) is None
    first = register_toy()
    assert (first.name, first.version) == ("latents-toy_study", "1")
    assert register_toy() == find_version(TOY) == first
    cards = TOY.output("beta_vae", "cards.csv")
    cards.write_text(CARDS.replace("slant\n", "slope\n").replace(",slant,", ",slope,"))
    assert register_toy().version == "2"
    for name in ("toy_study", "latents-toy_study"):
        explorer = download(name, tmp_path / name)
        assert explorer.cards[0].meaning == "slope"
        assert explorer.made_by["Model"] == "latents-toy_study version 2"
        code = [[1.0, -1.0, 0.5, 0.0]]
        assert torch.equal(explorer.decode(code), make_model().decode(torch.tensor(code)))
    weights = TOY.output("beta_vae", "model.safetensors")
    assert explorer.made_by["SHA-256 of latents"] == sha256_of(weights)
    # Two images of each class of the test split.
    assert torch.equal(explorer.images, make_test_images()[[0, 1, 3, 4, 5]])
    assert (
        "- Slope: latent 1, 2.50 nats"
        in store.get_model_version("latents-toy_study", "2").description
    )


@pytest.mark.fault("R4")
def test_a_byte_that_flips_in_the_registered_model_is_found_by_name(store, tmp_path):
    version = register_toy()
    model = store.get_logged_model(version.model_id)
    cards = Path(model.artifact_location.removeprefix("file://")) / "artifacts/cards.csv"
    cards.write_text(cards.read_text().replace("2.5", "2.6"))
    with pytest.raises(InputError, match="_study version 1: cards.csv is not the file that was re"):
        download("toy_study", tmp_path / "fetched")
    assert register_toy().version == "2"
    assert download("toy_study", tmp_path / "again").cards[0].meaning == "slant"


def test_the_registered_model_decodes_codes_and_holds_no_pickle(store, tmp_path):
    import mlflow

    version = register_toy()
    model = mlflow.pyfunc.load_model(f"models:/{version.name}/1")
    codes = np.array([[0.0, 1.0, 2.0, -3.0], [0.5] * LATENTS], np.float32)
    explorer = download("toy_study", tmp_path / "fetched")
    decoded = explorer.decode(codes.tolist())
    assert np.array_equal(model.predict(codes), decoded.numpy())
    assert np.array_equal(
        model.predict(codes, params={"refine": True}), explorer.refine(decoded).numpy()
    )
    with pytest.raises(Exception, match="4"):
        model.predict(np.zeros((1, 3), np.float32))
    [folder] = Path("mlflow/artifacts/toy_study/models").glob("*/artifacts")
    # Loading it left caches of its code.
    files = [p for p in folder.rglob("*") if p.is_file() and p.parent.name != "__pycache__"]
    assert {path.suffix for path in files} <= {
        ".safetensors",
        ".json",
        ".py",
        ".css",
        ".html",
        ".jinja",
        ".yaml",
        ".txt",
        ".csv",
        "",
    }


def test_a_version_with_other_code_is_refused_by_mlflow_and_named_by_the_page(store, tmp_path):
    import mlflow

    change_code("registered/latents_model.py", "MOST_CODES", "MOST_AT_ONCE")
    version = register_toy()
    with pytest.raises(mlflow.MlflowException, match="latents-toy_study version 1 brings its own"):
        mlflow.pyfunc.load_model(f"models:/{version.name}/1")
    made_by = download("toy_study", tmp_path / "fetched").made_by
    assert "other than the version's, which is its own code, hash" in made_by["Made with code"]


def test_a_diffusevae_of_another_vae_is_not_registered(store):
    from tests.support.toy_artifacts import DIFFUSION, UNET

    save_diffusion(
        TOY.experiment.output("train_diffusevae", "model.safetensors"),
        DiffusionModel(DIFFUSION, UNET, SHAPE, conditional=True),
        "0" * 64,
    )
    with pytest.raises(InputError, match="was trained on the VAE 000000000000, not on"):
        register_toy()
    assert store.search_registered_models() == []


def test_a_model_without_latents_is_one_line(store, tmp_path):
    store.create_registered_model("diffusevae-toy")
    store.create_model_version("diffusevae-toy", str(tmp_path), tags={"vae_sha256": "0"})
    with pytest.raises(InputError, match="^diffusevae-toy: has no latents to move; name a latent"):
        explore("diffusevae-toy", 8099)
    with pytest.raises(InputError, match="^nothing: the registry has no model latents-nothing;"):
        explore("nothing", 8099)


def test_a_taken_port_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EnvironmentFailure, match="in use; name another"):
            explore("latents", taken.getsockname()[1])
