"""The library's own functions on tensors of one's own; what they add to the stages' is checked."""

import ast
import dataclasses
import doctest
import inspect
import re

import numpy as np
import pytest
import torch

from diffusevae import api
from diffusevae.api import measures, models
from diffusevae.core.params import load_sections
from diffusevae.core.randomness import generator
from tests.support.checkouts import ROOT

IMAGES = torch.rand(60, 1, 16, 16, generator=generator(0, "images"))


@pytest.fixture(scope="module")
def pair() -> api.Pair:
    vae = api.train_vae(IMAGES, epochs=1)
    return api.train_diffusevae(IMAGES, vae, epochs=1)


@pytest.mark.parametrize("module", [api, models, measures])
def test_the_examples_of_docstrings_are_true(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


def test_all_that_is_public_is_there_and_described():
    assert sorted(api.__all__) == sorted(set(api.__all__))
    for name in api.__all__:
        thing = getattr(api, name)
        assert not callable(thing) or thing.__doc__, name


def test_the_defaults_are_those_of_quickstart():
    of = {"vae": api.VAE_NETWORK, "vae_optimiser": api.VAE_OPTIMISER, "diffusion": api.DIFFUSION,
          "unet": api.UNET, "diffusion_optimiser": api.DIFFUSION_OPTIMISER, "prior": api.PRIOR,
          "sampler": api.SAMPLER}  # fmt: skip
    sections = {name: type(default) for name, default in of.items()}
    params = load_sections(ROOT / "params.yaml", "experiments", "quickstart", sections)
    assert vars(params) == of
    of = {"classifier": api.CLASSIFIER, "classifier_optimiser": api.CLASSIFIER_OPTIMISER}
    sections = {name: type(default) for name, default in of.items()}
    assert vars(load_sections(ROOT / "params.yaml", "datasets", "mnist_16k", sections)) == of


def test_bytes_and_floats_train_the_same_model_and_a_seed_another(pair):
    as_bytes = (IMAGES * 255).round().to(torch.uint8).numpy()
    same = api.train_diffusevae(as_bytes, api.train_vae(as_bytes, epochs=1), epochs=1)
    other = api.train_vae(IMAGES, epochs=1, seed=1)
    for mine, theirs in ((pair.vae, same.vae), (pair.diffusevae, same.diffusevae)):
        weights = theirs.state_dict()
        assert all(torch.equal(each, weights[name]) for name, each in mine.state_dict().items())
    name, weight = next(iter(pair.vae.state_dict().items()))
    assert not torch.equal(weight, other.state_dict()[name])


def test_what_is_saved_draws_the_same_images(pair, tmp_path):
    api.save(pair, tmp_path / "model")
    loaded = api.load(tmp_path / "model")
    for before, after in zip(api.generate(pair, 3), api.generate(loaded, 3), strict=True):
        assert before.shape == (3, 1, 16, 16) and before.min() >= 0 and before.max() <= 1
        assert torch.allclose(before, after, atol=1e-5)  # a loaded one has another memory format
    x_hat, refined = api.refine(loaded, IMAGES[:2])
    assert torch.allclose(x_hat, pair.vae.reconstruct(IMAGES[:2]), atol=1e-5)
    assert refined.shape == (2, 1, 16, 16)
    api.save(dataclasses.replace(pair, vae=api.train_vae(IMAGES, 1, seed=1)), tmp_path / "other")
    (tmp_path / "model/vae.safetensors").write_bytes(
        (tmp_path / "other/vae.safetensors").read_bytes()
    )
    with pytest.raises(api.InputError, match="was trained on the VAE"):
        api.load(tmp_path / "model")


def test_images_to_validate_by_may_be_given_and_are_then_not_trained_on():
    rows = []
    api.train_vae(IMAGES[:32], epochs=1, validation=IMAGES[32:], on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [1] and rows[0]["validation_loss"] > 0


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (IMAGES[:, 0], r"images 60 x 16 x 16: expected N x C x H x W .* images\[:, None\] adds"),
        (IMAGES * 255, "images: values from .* expected .*scale them"),
        (IMAGES - 1, "images: values from -"),
        (IMAGES * float("nan"), "images: values from nan"),
        ((IMAGES * 255).long(), "images torch.int64: expected uint8"),
        (np.array([object()]), "images: no array of numbers .*convert it"),
        (IMAGES[:1], "images: 1, of which one is to be held out"),
        (IMAGES[:0], "images 0 x 1 x 16 x 16: expected"),
        (IMAGES[..., :15], "channel_multipliers .* cannot be halved 3 times"),
    ],
)
def test_images_that_do_not_fit_are_named_in_one_line(images, said):
    with pytest.raises(api.InputError, match=said) as caught:
        api.train_vae(images, epochs=1)
    assert "\n" not in str(caught.value)


def test_what_does_not_go_together_is_named(pair):
    with pytest.raises(api.InputError, match="images of 3 x 16 x 16: the VAE was trained on 1 x"):
        api.train_diffusevae(IMAGES[:2].expand(-1, 3, -1, -1), pair.vae, epochs=1)
    with pytest.raises(api.InputError, match="epochs 0: use at least 1"):
        api.train_diffusevae(IMAGES, pair.vae, epochs=0)
    with pytest.raises(api.InputError, match="validation 2 x 3 x 16 x 16: the images are"):
        api.train_vae(IMAGES, 1, validation=IMAGES[:2].expand(-1, 3, -1, -1))
    with pytest.raises(api.InputError, match="unet.labels true"):
        told = dataclasses.replace(api.UNET, labels=True)
        api.train_diffusevae(IMAGES, pair.vae, epochs=1, unet=told)
    with pytest.raises(api.InputError, match="num_images 0"):
        api.generate(pair, 0)


def test_the_page_of_the_library_shows_functions_as_they_are():
    page = (ROOT / "docs/library.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for call in (
        node
        for example in examples
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("api.")
    ):
        function = getattr(api, call.func.attr)
        assert call.func.attr in api.__all__
        inspect.signature(function).bind(*call.args, **{each.arg: 0 for each in call.keywords})
