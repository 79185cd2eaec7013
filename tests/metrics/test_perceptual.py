import json
import socket

import numpy as np
import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import load_tensors, save_tensors
from diffusevae.metrics.metric import METRICS
from diffusevae.metrics.perceptual import load_lpips, lpips, unavailable
from tests.support.real_data import MIRROR, raw_folder

EXAMPLES = MIRROR / "lpips"


@pytest.fixture(scope="module")
def model():
    return load_lpips(raw_folder("alexnet"))


@pytest.fixture(scope="module")
def reference() -> dict:
    return json.loads((EXAMPLES / "lpips_reference.json").read_text())


def read_image(name: str) -> torch.Tensor:
    from PIL import Image

    pixels = np.asarray(Image.open(EXAMPLES / "images" / name).convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255


def random_images(number: int, channels: int = 1, size: int = 32) -> torch.Tensor:
    return torch.rand(number, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.mirror
def test_published_values_of_the_example_images(model, reference):
    pairs = [entry for entry in reference["published"] if entry["net"] == "alex"]
    assert len(pairs) == 2
    for entry in pairs:
        x, y = map(read_image, entry["pair"])
        assert lpips(x, y, model).item() == pytest.approx(entry["value"], abs=6e-4)


def test_reference_values_of_random_images(model):
    generator = torch.Generator().manual_seed(42)  # the same numbers as torch.manual_seed(42)
    x, y = (torch.rand(10, 3, 100, 100, generator=generator) for _ in range(2))
    # What the package lpips 0.1.4 gives for the same numbers.
    assert lpips(x, y, model).mean().item() == pytest.approx(0.146919, abs=2e-6)


def test_one_value_per_image_whatever_the_batch(model, monkeypatch):
    x = random_images(7)
    y = x.flip(0)
    values = lpips(x, y, model)
    assert values.shape == (7,)
    assert values[3] == 0 and (values[:3] > 0).all()  # the middle image meets itself
    torch.testing.assert_close(values, lpips(y, x, model))
    monkeypatch.setattr("diffusevae.data.dataset.AT_ONCE", 2)
    torch.testing.assert_close(values, lpips(x, y, model))


def test_grey_is_three_equal_channels(model):
    x, y = random_images(3), random_images(3).flip(0)
    colour = lpips(x.repeat(1, 3, 1, 1), y.repeat(1, 3, 1, 1), model)
    torch.testing.assert_close(lpips(x, y, model), colour)


@pytest.mark.mirror
def test_growing_corruption_moves_it_away_from_better(model):
    x = read_image("ex_ref.png")
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    noise = [(x + sigma * eps).clamp(0, 1) for sigma in (0.05, 0.1, 0.2)]
    blur = [
        torch.nn.functional.avg_pool2d(x, size, 1, size // 2, count_include_pad=False)
        for size in (3, 5, 9)
    ]
    assert METRICS["lpips"].better == "lower"
    for corrupted in (noise, blur):
        values = [lpips(x, y, model).item() for y in (x, *corrupted)]
        assert values[0] == 0 and values == sorted(set(values))


def test_loading_leaves_network_and_random_numbers_alone(monkeypatch):
    def refuse(*_):
        raise AssertionError("LPIPS must not open a connection")

    folder, before = raw_folder("alexnet"), torch.random.get_rng_state()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    model = load_lpips(folder)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.net.parameters())


def test_features_of_another_network_are_refused(tmp_path):
    state = load_tensors(raw_folder("alexnet") / "features.safetensors")
    save_tensors(tmp_path / "features.safetensors", state | {"0.bias": torch.zeros(65)})
    with pytest.raises(InputError, match="not AlexNet's features"):
        load_lpips(tmp_path)


def test_features_with_other_names_are_refused(tmp_path):
    save_tensors(tmp_path / "features.safetensors", {"conv1.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="conv1.weight"):
        load_lpips(tmp_path)


def test_images_below_32_are_refused():
    with pytest.raises(ValueError, match="32 x 32 or more, got 28 x 28"):
        lpips(random_images(2, size=28), random_images(2, size=28), torch.nn.Identity())


@pytest.mark.parametrize("shape", [(2, 2, 32, 32), (2, 32, 32), (3, 1, 32, 32)])
def test_images_that_cannot_be_compared_are_refused(shape):
    with pytest.raises(ValueError):
        lpips(torch.zeros(shape), torch.zeros(2, 2, 32, 32), torch.nn.Identity())


def test_missing_features_give_the_reason(tmp_path):
    with pytest.raises(InputError, match="run the download stage"):
        unavailable(tmp_path)
    (tmp_path / "missing.txt").write_text("no source was\nreachable\n")
    assert unavailable(tmp_path) == "no source was reachable"
    (tmp_path / "features.safetensors").touch()
    assert unavailable(tmp_path) is None
    assert "28 x 28" in unavailable(tmp_path, 28)
