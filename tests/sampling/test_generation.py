"""What the models make together."""

import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from PIL import Image

from command.line import main
from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import Split
from diffusevae.figures.drawing import Strip, draw_strips, figure_style, save_figure
from diffusevae.models.diffusion import save_diffusion
from diffusevae.models.latent_mixture import Mixture, save_mixture
from diffusevae.models.vae import save_vae
from diffusevae.registered.model import DiffuseVAE
from diffusevae.sampling.generation import (
    Models,
    draw_labels,
    generate,
    generate_all_ways,
    load_pair,
    record_trajectory,
    refine_test_images,
)
from diffusevae.sampling.samplers import sample
from diffusevae.tracking.stage_logger import StageLogger
from tasks.pictures import describe_origin
from tasks.registry.versions import Version
from tests.support.toy_models import make_diffusion, make_sampler, make_vae

SAMPLER = make_sampler(num_steps=3, batch_size=4)


@pytest.fixture
def models() -> Models:
    vae = make_vae(image_shape=(1, 16, 16)).eval().requires_grad_(False)
    torch.nn.init.normal_(vae.decoder.layers[-1].weight)
    # One Gaussian without spread: every code of the "GMM" is 2.
    mixture = Mixture(torch.ones(1), torch.full((1, 48), 2.0), torch.zeros(1, 48), (3, 4, 4))
    ddpm, diffusevae = (make_diffusion("v", conditional=each).eval() for each in (False, True))
    return Models(vae, mixture, diffusevae, ddpm)


@pytest.fixture
def test_images() -> Split:
    images = torch.randint(0, 256, (10, 1, 16, 16), dtype=torch.uint8)
    return Split(images, torch.arange(10), torch.arange(10))


def test_pairs_are_the_first_test_images_their_reconstruction_and_refinement(models, test_images):
    log = StageLogger()
    pairs = refine_test_images(models, SAMPLER, test_images, 6, 0, log)
    real = test_images.images[:6].float() / 255
    assert torch.equal(pairs["real"], real)
    torch.testing.assert_close(pairs["vae"], models.vae.reconstruct(real), atol=1e-4, rtol=1e-4)
    assert pairs["diffusevae"].shape == real.shape
    assert pairs["labels"].tolist() == list(range(6))
    assert log.timings["diffusevae_seconds_per_image"] > 0


def test_generated_images_come_from_the_prior_and_from_the_mixture(models):
    images = generate_all_ways(models, SAMPLER, 5, 0, StageLogger())
    assert set(images) == {"vae_prior", "vae_gmm", "ddpm", "diffusevae_prior", "diffusevae_gmm"}
    assert all(x.shape == (5, 1, 16, 16) and 0 <= x.min() <= x.max() <= 1 for x in images.values())
    expected = models.vae.decode(torch.full((5, 3, 4, 4), 2.0))
    torch.testing.assert_close(images["vae_gmm"], expected, atol=1e-4, rtol=1e-4)
    assert images["vae_prior"].std(0).max() > 1e-3


def test_the_stage_the_served_model_and_the_gate_make_the_same_images(
    models, test_images, tmp_path
):
    """What each version is judged by, and what people are served, is what was measured."""
    folder = tmp_path / "artifacts"
    save_vae(folder / "vae.safetensors", models.vae)
    save_mixture(folder / "prior.safetensors", models.mixture)
    hashed = sha256_of(folder / "vae.safetensors")
    save_diffusion(folder / "diffusevae.safetensors", models.diffusevae, hashed)
    sampler = json.dumps(dataclasses.asdict(SAMPLER))
    (folder / "sampler.json").write_text(sampler)
    paths = {part: folder / f"{part}.safetensors" for part in ("vae", "prior", "diffusevae")}
    pair = load_pair(*paths.values(), torch.device("cpu"))
    loaded = Models(pair.vae, pair.mixture, pair.diffusevae, models.ddpm)
    refined = refine_test_images(loaded, SAMPLER, test_images, 10, 7, StageLogger())["diffusevae"]
    made = generate_all_ways(loaded, SAMPLER, 10, 7, StageLogger())["diffusevae_gmm"]
    served = DiffuseVAE()
    served.load_context(
        SimpleNamespace(artifacts=paths | {"sampler": str(folder / "sampler.json")})
    )
    for images, number in ((refined, 0), (made, 10)):
        given = test_images.images.numpy().astype(np.float32) / 255
        answer = served.predict(None, given, {"num_images": number, "seed": 7})
        assert torch.equal(torch.from_numpy(answer), images)
    judged = Version("toy", "1", {"sampler": sampler}, tmp_path, "").make(test_images.images, 7)
    assert torch.equal(judged.refined, refined) and torch.equal(judged.generated, made)
    assert not torch.equal(refined, made)


@pytest.fixture
def with_classes(models) -> Models:
    """Models of two classes, whose codes are all -2 and all 2; class 1 is as rare as 1 in 4."""
    means = torch.tensor([[-2.0], [2.0]]).expand(2, 48)
    weights, classes = torch.tensor([0.75, 0.25]), torch.tensor([0, 1])
    mixture = Mixture(weights, means.clone(), torch.zeros(2, 48), (3, 4, 4), classes)
    ddpm, diffusevae = (
        make_diffusion("v", conditional=each, num_classes=2).eval() for each in (False, True)
    )
    return Models(models.vae, mixture, diffusevae, ddpm)


def test_the_classes_asked_for_are_those_of_the_codes_and_what_the_refiner_is_told(with_classes):
    labels = torch.tensor([1, 0, 1])
    decoded, refined = generate(with_classes, SAMPLER, "gmm", 3, 0, labels=labels)
    codes = torch.where(labels == 1, 2.0, -2.0)[:, None, None, None].expand(3, 3, 4, 4)
    torch.testing.assert_close(decoded, with_classes.vae.decode(codes), atol=1e-4, rtol=1e-4)
    told = sample(with_classes.diffusevae, SAMPLER, 3, 1, decoded, labels=labels)
    torch.testing.assert_close(refined, told)
    assert not torch.allclose(refined, sample(with_classes.diffusevae, SAMPLER, 3, 1, decoded))


def test_without_a_wish_classes_come_as_often_as_they_are(with_classes):
    drawn = draw_labels(with_classes, "gmm", 2000, 0)
    assert float(drawn.float().mean()) == pytest.approx(0.25, abs=0.04)
    assert draw_labels(with_classes, "prior", 10, 0) is None
    made = generate_all_ways(with_classes, SAMPLER, 5, 0, StageLogger())
    told = sample(with_classes.ddpm, SAMPLER, 5, 1, labels=draw_labels(with_classes, "gmm", 5, 0))
    assert torch.equal(made["ddpm"], told)


def test_served_labels_are_new_images_of_these_classes(with_classes):
    served = DiffuseVAE()
    served.pair, served.sampler = with_classes, SAMPLER
    labels = torch.tensor([1, 0, 1])
    _, expected = generate(with_classes, SAMPLER, "gmm", 3, 5, labels=labels)
    for params in ({"labels": [1, 0, 1], "seed": 5}, {"labels": labels.numpy(), "seed": 5}):
        assert torch.equal(torch.from_numpy(served.predict(None, None, params)), expected)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"labels": [0, 2]}, "labels 2: the classes are 0 to 1"),
        ({"labels": [0.5]}, "labels: expected 1 to 8192 whole numbers in one row"),
        ({"labels": [[0], [1]]}, "labels: expected 1 to 8192 whole numbers in one row"),
        ({"labels": [0, 1], "num_images": 3}, "num_images 3: there are 2 labels; leave it out"),
    ],
)
def test_labels_that_cannot_be_are_one_line_of_the_server(with_classes, params, said):
    served = DiffuseVAE()
    served.pair, served.sampler = with_classes, SAMPLER
    with pytest.raises(MlflowException, match=f"^{re.escape(said)}$"):
        served.predict(None, None, params)


def test_a_trajectory_goes_from_noise_to_the_finished_image(models, test_images):
    trajectory = record_trajectory(models, SAMPLER, test_images, 0)
    assert trajectory["t"].tolist() == [49, 32, 16, -1]
    assert trajectory["x_t"].shape == trajectory["x_0"].shape == (4, 8, 1, 16, 16)
    assert torch.equal(trajectory["x_t"][-1], trajectory["x_0"][-1])
    heun = make_sampler(sampler="heun", num_steps=5)  # two of its steps are seen as one
    assert record_trajectory(models, heun, test_images, 0)["t"].tolist()[-1] == -1


def test_more_images_than_there_are_is_an_error_with_the_number(models, test_images):
    with pytest.raises(InputError, match="num_images 11: there are only 10"):
        refine_test_images(models, SAMPLER, test_images, 11, 0, StageLogger())


def test_a_picture_that_cannot_be_written_is_found_before_any_work(tmp_path, capsys):
    assert main(["sample", "smoke", "--out", str(tmp_path)], tmp_path) == 3
    assert capsys.readouterr().err == f"error: {tmp_path}: is a folder; name another file\n"


def test_a_picture_says_that_it_is_generated_by_which_model_and_from_which_seed(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    texts = describe_origin("toy", weights, SAMPLER, 7)
    with figure_style():
        figure = draw_strips([Strip("Images", torch.rand(2, 1, 8, 8))], 2)
        for name, written in (("marked", texts), ("plain", None)):
            save_figure(figure, tmp_path / name, written)
    with Image.open(tmp_path / "marked") as png:
        assert png.text == texts and "not drawn or photographed" in png.text["Source"]
    assert texts["Process"] == "ddim, 3 steps, seed 7" and sha256_of(weights) in texts["Model"]
    with Image.open(tmp_path / "plain") as png:
        assert png.text == {}
