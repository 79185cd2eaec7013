"""Noise, shrinking and classical filters against their definitions; who is the best rival."""

import numpy as np
import pandas as pd
import pytest
import torch

from diffusevae.core.randomness import generator
from diffusevae.latents.autoencoders.part import AE
from diffusevae.latents.autoencoders.restored import best_rival, compare_restored
from diffusevae.latents.models.restorer import Restorer
from diffusevae.metrics.classical import add_noise, choose_setting, enlarge, filter_images, shrink


def test_noise_has_the_level_of_each_image():
    levels = torch.tensor([0.0, 0.1, 0.8]).view(3, 1, 1, 1)
    noisy = add_noise(torch.full((3, 1, 64, 64), 0.5), levels, generator(0))
    spread = (noisy - 0.5).flatten(1).std(1)
    assert spread[0] == 0
    assert spread[1:].tolist() == pytest.approx([0.1, 0.8], rel=0.05)


def test_shrinking_takes_the_mean_of_blocks_and_enlarging_keeps_an_even_picture():
    x = torch.arange(16.0).view(1, 1, 4, 4) / 16
    assert shrink(x, 2).flatten().tolist() == pytest.approx(
        [v / 16 for v in (2.5, 4.5, 10.5, 12.5)]
    )
    for mode in ("bilinear", "bicubic"):
        assert torch.allclose(
            enlarge(torch.full((1, 1, 2, 2), 0.3), 4, mode), torch.full((1, 1, 8, 8), 0.3)
        )


def test_filters_work_on_every_image_alone():
    x = torch.zeros(2, 1, 9, 9)
    x[0, 0, 4, 4] = 1
    assert filter_images(x, "median filter", 3, 0.1).sum() == 0
    blurred = filter_images(x, "Gaussian filter", 1.0, 0.1)
    assert float(blurred[0].sum()) == pytest.approx(1, abs=1e-3) and blurred[1].sum() == 0
    assert float(blurred[0].max()) == pytest.approx(1 / (2 * np.pi), rel=0.05)
    assert torch.equal(filter_images(x - 5, "nothing", 0, 0.1), torch.zeros_like(x))
    # Where the local variance is below the noise's, the Wiener filter gives the local mean.
    assert float(filter_images(x, "Wiener filter", 3, 1.0)[0, 0, 4, 4]) == pytest.approx(1 / 9)


def test_the_setting_of_a_filter_is_the_best_of_those_to_choose_from():
    real = torch.zeros(4, 1, 16, 16)
    real[..., 4:12, 4:12] = 1
    quiet, loud = (add_noise(real, noise, generator(1)) for noise in (0.02, 1.0))
    assert choose_setting(real, quiet, "Gaussian filter", 0.02, "mse") == 0.4
    assert choose_setting(real, loud, "Gaussian filter", 1.0, "mse") >= 1.0
    assert choose_setting(real, quiet, "Gaussian filter", 0.02, "ssim") == 0.4


def test_rows_hold_the_autoencoder_s_value_less_each_method_s():
    real = torch.full((3, 1, 16, 16), 0.5)
    made = {AE: (0, real + 0.1), "near": (1, real + 0.2), "far": (2, real + 0.3)}
    table = pd.DataFrame(compare_restored(real, {"mse": made}, 0, {"noise": 0.2}))
    values = table.set_index("method")
    assert values.loc[AE, "value"] == pytest.approx(0.01)
    assert values.loc["near", "change"] == pytest.approx(0.01 - 0.04)
    assert np.isnan(values.loc[AE, "change"])
    assert best_rival(table, {"noise": 0.2}, "mse")["method"] == "near"


def test_the_restorer_has_no_way_around_its_code():
    """With the code's layer silenced the output is the same for every input."""
    torch.manual_seed(0)
    network = Restorer((4, 8), 1)
    with torch.no_grad():
        network.layers[2].weight.zero_()
    a, b = network.restore(torch.rand(2, 1, 8, 8))
    assert torch.equal(a, b) and a.shape == (1, 8, 8)
    assert 0 <= a.min() and a.max() <= 1
