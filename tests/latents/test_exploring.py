"""Exploring latents: codes in, images out; drawings; the model in a real MLflow store."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from apps.explore.__main__ import explore
from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.core.png import write_png
from diffusevae.core.tensor_file import save_tensors, sha256_of
from diffusevae.data.dataset import to_unit
from diffusevae.latents.models.beta_vae import save_vector_vae
from diffusevae.latents.page.cards import read_cards
from diffusevae.latents.page.exploring import (
    FILES,
    Explorer,
    interpolate,
    interpolate_evenly,
    load_explorer,
    read_drawing,
)
from diffusevae.models.diffusion import DiffusionModel, save_diffusion
from tasks.registry.latents import download, find_version
from tests.support.toy_artifacts import SHAPE, change_code, write_models
from tests.support.toy_latents import (
    CARDS,
    LATENTS,
    SAMPLER,
    TOY,
    make_model,
    make_test_images,
    register_toy,
    write_checkout,
)


def write_files(folder: Path) -> Path:
    stages = write_models(folder / "stages")
    for name in ("vae", "diffusevae"):
        (stages[f"train_{name}"] / "model.safetensors").rename(folder / FILES[name])
    save_vector_vae(folder / FILES["latents"], make_model())
    (folder / FILES["cards"]).write_text(CARDS)
    (folder / FILES["sampler"]).write_text(json.dumps(SAMPLER))
    save_tensors(folder / FILES["images"], {"images": make_test_images()})
    return folder


@pytest.fixture(scope="module")
def explorer(tmp_path_factory) -> Explorer:
    return load_explorer(write_files(tmp_path_factory.mktemp("explorer")), {"Model": "toy"})


def draw(width: int, height: int, *white: tuple[int, int], mode: str = "L") -> bytes:
    """Return a black PNG whose pixels at these (row, column) are white."""
    image = Image.new(mode, (width, height))
    for y, x in white:
        image.putpixel((x, y), 255 if mode == "L" else (255,) * len(mode))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_a_test_image_s_code_is_the_model_s_mean_and_decodes_to_its_reconstruction(explorer):
    x = to_unit(make_test_images()[2])
    code = explorer.encode_test_image(2)
    mu = explorer.model.encode(x[None])[0][0]
    assert mu.abs().max() < 3
    assert code == pytest.approx(mu.tolist())
    assert torch.allclose(explorer.decode([code])[0], explorer.model.reconstruct(x[None])[0])


def test_codes_are_kept_where_the_sliders_can_go(explorer, monkeypatch):
    far = torch.tensor([[9.0, -9.0, 0.5, 3.0]])
    monkeypatch.setattr(explorer.model, "encode", lambda x: (far, far))
    assert explorer.encode(torch.zeros(SHAPE)) == [3.0, -3.0, 0.5, 3.0]


def test_moving_a_latent_changes_it_alone(explorer):
    code = [0.1, 0.2, 0.3, 0.4]
    assert explorer.move(code, 2, -3.0) == [0.1, 0.2, -3.0, 0.4]
    assert code == [0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize("latent", [-1, LATENTS])
def test_a_latent_out_of_range_is_named_with_those_there_are(explorer, latent):
    with pytest.raises(InputError, match=f"^latent {latent}: this model has the latents 0 to 3$"):
        explorer.move([0.0] * LATENTS, latent, 0.0)


def test_what_the_model_does_not_have_is_refused(explorer):
    with pytest.raises(InputError, match="latent 1: 3.5 is out of range; allowed -3 to 3"):
        explorer.move([0.0] * LATENTS, 1, 3.5)
    with pytest.raises(InputError, match="a code of 3 numbers: this model's have 4"):
        explorer.decode([[0.0] * 3])
    with pytest.raises(InputError, match="test image 6: there are the images 0 to 5"):
        explorer.encode_test_image(6)


def test_a_refinement_depends_on_the_picture_alone(tmp_path):
    explorer = load_explorer(write_files(tmp_path), {})
    # Untrained networks end in zeros, and would not look at the picture.
    weights = [*explorer.diffusevae.parameters(), *explorer.vae.parameters()]
    for number, parameter in enumerate(weights):
        parameter.add_(
            0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        )
    one, other = explorer.decode([[0.0] * LATENTS, [2.0] * LATENTS])
    refined = explorer.refine(one[None])
    assert refined.shape == (1, *SHAPE) and 0 <= refined.min() <= refined.max() <= 1
    assert torch.equal(refined, explorer.refine(one[None]))
    assert not torch.equal(refined, explorer.refine(other[None]))


def test_interpolation_goes_straight_from_one_code_to_the_other():
    start, end = [0.0, 2.0], [1.0, -2.0]
    assert interpolate(start, end, 0.25) == [0.25, 1.0]
    codes = interpolate_evenly(start, end)
    assert len(codes) == 9
    assert (codes[0], codes[4], codes[8]) == (start, [0.5, 0.0], end)


def test_a_drawing_becomes_the_means_of_its_blocks():
    image = read_drawing(draw(32, 32, (0, 0), (3, 5), (2, 4), (2, 5)), SHAPE)  # blocks of 2 x 2
    expected = torch.zeros(SHAPE)
    expected[0, 0, 0], expected[0, 1, 2] = 0.25, 0.75
    assert torch.allclose(image, expected)
    coloured = read_drawing(draw(16, 16, (1, 2), mode="RGB"), (3, 16, 16))
    assert coloured.shape == (3, 16, 16) and coloured[:, 1, 2].tolist() == [1.0] * 3


@pytest.mark.parametrize(
    ("png", "line"),
    [
        (draw(32, 48, (0, 0)), "a drawing of 32 x 48 pixels: expected 16 x 16, or a multiple"),
        (draw(40, 40, (0, 0)), "a drawing of 40 x 40 pixels: expected 16 x 16, or a multiple"),
        (
            draw(2048, 2048, (0, 0)),
            "a drawing of 2048 x 2048 pixels: expected .* up to 1024 pixels",
        ),
        (draw(32, 32), "the drawing: is empty; draw something in white"),
        (b"no PNG", "the drawing: cannot be read as a PNG image"),
    ],
)
def test_a_drawing_that_cannot_be_used_is_one_line(png, line):
    with pytest.raises(InputError, match=line) as raised:
        read_drawing(png, SHAPE)
    assert "\n" not in str(raised.value)


def test_a_downloaded_picture_says_what_made_it(explorer):
    code = [0.5, -1.0, 0.0, 2.0]
    images = explorer.decode([code])
    with Image.open(io.BytesIO(write_png(images, explorer.describe([code], True), 8))) as png:
        texts, pixels = png.text, np.array(png)
    assert texts["Source"].startswith("generated image")
    assert texts["Model"] == "toy" and json.loads(texts["Code"]) == code
    assert "refined by DiffuseVAE (ddim, 2 steps, seed 0)" in texts["Process"]
    assert all(len(texts[f"SHA-256 of {name}"]) == 64 for name in ("latents", "vae", "diffusevae"))
    assert pixels.shape == (128, 128)
    assert pixels[8 * 3 + 7, 8 * 5] == round(float(images[0, 0, 3, 5]) * 255)


def test_a_strip_names_the_codes_of_all_its_pictures(explorer):
    codes = interpolate_evenly([0.0] * LATENTS, [1.0] * LATENTS)
    with Image.open(
        io.BytesIO(write_png(explorer.decode(codes), explorer.describe(codes, False)))
    ) as png:
        assert png.size == (9 * 16, 16)
        assert json.loads(png.text["Code"]) == codes and "refined" not in png.text["Process"]


def test_cards_come_with_the_most_informative_first(tmp_path):
    path = tmp_path / "cards.csv"
    path.write_text(CARDS)
    cards = read_cards(path, LATENTS)
    assert [card.latent for card in cards] == [1, 3, 2, 0]
    assert [card.used for card in cards] == [True, True, True, False]
    assert (cards[2].title, cards[2].detail) == ("Width, class", "latent 2, 0.70 nats")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("latent,kl\n0,1.0\n", "has no column meaning; make it again"),
        (
            "latent,kl,meaning\n0,1.0,slant\n",
            "is of 1 latents, but the model has those from 0 to 3",
        ),
        ("", "cannot be read"),
    ],
)
def test_other_cards_are_one_line(tmp_path, text, line):
    path = tmp_path / "cards.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=line):
        read_cards(path, LATENTS)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    folder = write_files(tmp_path)
    (folder / FILES["sampler"]).write_text(json.dumps(SAMPLER | {"guidance": 1.0}))
    with pytest.raises(InputError, match="^guidance 1: needs a model trained without its cond"):
        load_explorer(folder, {})
    save_tensors(folder / FILES["images"], {"images": torch.zeros(2, 1, 8, 8).byte()})
    with pytest.raises(InputError, match="images of 1 x 16 x 16 .* test images are 1 x 8 x 8"):
        load_explorer(folder, {})


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
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {
        ".safetensors",
        ".json",
        ".py",
        ".html",
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
        explore(["diffusevae-toy", "8099"])
    with pytest.raises(InputError, match="^nothing: the registry has no model latents-nothing;"):
        explore(["nothing", "8099"])


def test_wrong_arguments_are_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="port 'high': expected a whole number"):
        explore(["latents", "high"])
    with pytest.raises(InputError, match="write `python -m apps.explore"):
        explore(["latents", "8099", "more"])
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EnvironmentFailure, match="in use; name another"):
            explore(["latents", str(taken.getsockname()[1])])
