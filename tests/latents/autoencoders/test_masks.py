"""Thresholds and IoU against their definitions."""

import numpy as np
import pytest
import torch

from diffusevae.latents.autoencoders.masks import (
    UNET,
    best_threshold,
    compare_masks,
    intersection_over_union,
    otsu_threshold,
)
from diffusevae.latents.autoencoders.segmentation import OTSU


def test_iou_by_hand():
    a = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).bool().view(3, 1, 2, 2)
    b = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).bool().view(3, 1, 2, 2)
    values = intersection_over_union(a, b)
    assert values[:2].tolist() == pytest.approx([1 / 3, 1]) and values[2].isnan()


def test_otsu_s_threshold_maximises_the_variance_between_the_sides():
    rng = np.random.default_rng(0)
    image = np.concatenate([rng.normal(0.2, 0.05, 600), rng.normal(0.7, 0.1, 400)]).clip(0, 1)

    def between(t):
        low, high = image[image <= t], image[image > t]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    every = np.linspace(0.05, 0.9, 400)
    assert between(otsu_threshold(image)) >= 0.999 * max(map(between, every))
    assert otsu_threshold(np.array([0.1, 0.1, 0.9])) == pytest.approx(0.5, abs=0.01)


def test_the_best_threshold_is_found_where_it_is_known():
    images = torch.tensor([0.1, 0.2, 0.6, 0.9]).view(1, 1, 2, 2)
    masks = torch.tensor([0.0, 0.0, 1.0, 1.0]).view(1, 1, 2, 2)
    assert 0.2 <= best_threshold(images, masks) < 0.6


def test_images_without_anything_to_find_are_left_out():
    masks = torch.zeros(3, 1, 2, 2)
    masks[:2, 0, 0] = 1
    half = masks.bool().clone()
    half[:, 0, 0, 0] = False
    unet, otsu = compare_masks("digits", {UNET: masks.bool(), OTSU: half}, masks, 0)
    assert unet["images"] == 2 and unet["iou"] == 1 and otsu["iou"] == 0.5
    assert otsu["change"] == 0.5 and otsu["iou_of_all"] == 0.5
