"""Shapes of strokes that are known."""

import math

import numpy as np
import pytest
import torch

from diffusevae.latents.measures.shapes import measure_shapes
from tests.support.bars import bar


def test_an_upright_bar_has_its_area_width_and_no_slant():
    found = {name: float(v) for name, v in measure_shapes(bar(6, 10, 20, 4)).items()}
    assert found["area"] == 80
    assert abs(found["slant"]) < 1e-9
    # The variance of w adjacent pixels is (w^2 - 1) / 12: the width is sqrt(w^2 - 1).
    assert found["width"] == pytest.approx(math.sqrt(15))
    # Forward differences count one corner once, by its diagonal: the perimeter is 2 (20 + 4) less
    # two sides of 1 plus a diagonal of sqrt(2).
    assert found["thickness"] == pytest.approx(2 * 80 / (48 - 2 + math.sqrt(2)))


def test_a_thicker_and_a_paler_bar():
    thin, thick = bar(2, 10, 28, 2), bar(2, 10, 28, 4)
    one, two = measure_shapes(thin), measure_shapes(thick)
    assert 1.8 < float(two["thickness"] / one["thickness"]) < 2.0
    pale = measure_shapes(0.5 * thick)
    assert float(pale["thickness"]) == pytest.approx(float(two["thickness"]))
    assert float(pale["area"]) == pytest.approx(float(two["area"]) / 2)


def test_a_line_that_leans_to_the_right_by_45_degrees():
    leaning = torch.eye(32).flip(1)[None, None]  # bottom left to top right
    found = measure_shapes(torch.cat([leaning, leaning.flip(3)]))
    np.testing.assert_allclose(found["slant"], [45, -45], atol=1e-6)
    np.testing.assert_allclose(found["width"], 0, atol=1e-4)  # nothing is left when it is upright


def test_a_blank_image_has_no_shape():
    assert all(float(value) == 0 for value in measure_shapes(torch.zeros(1, 1, 32, 32)).values())
