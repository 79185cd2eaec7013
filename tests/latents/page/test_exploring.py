"""Exploring a model: codes, traversals, drawings, pictures that say what made them."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from diffusevae.core.errors import InputError
from diffusevae.core.png import write_png
from diffusevae.core.tensor_file import save_tensors
from diffusevae.data.dataset import to_unit
from diffusevae.latents.page.exploring import (
    FILES,
    Explorer,
    interpolate,
    interpolate_evenly,
    load_explorer,
    read_drawing,
)
from tests.support.explorable import write_files
from tests.support.toy_artifacts import SHAPE
from tests.support.toy_latents import LATENTS, SAMPLER, make_test_images


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


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    folder = write_files(tmp_path)
    (folder / FILES["sampler"]).write_text(json.dumps(SAMPLER | {"guidance": 1.0}))
    with pytest.raises(InputError, match="^guidance 1: needs a model trained without its cond"):
        load_explorer(folder, {})
    save_tensors(folder / FILES["images"], {"images": torch.zeros(2, 1, 8, 8).byte()})
    with pytest.raises(InputError, match="images of 1 x 16 x 16 .* test images are 1 x 8 x 8"):
        load_explorer(folder, {})
