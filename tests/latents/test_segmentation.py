"""Masks, tiles, thresholds and IoU against their definitions; the UNet in its new use."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.latents.autoencoders.masks import (
    UNET,
    best_threshold,
    compare_masks,
    intersection_over_union,
    otsu_threshold,
)
from diffusevae.latents.autoencoders.scenes import (
    FILES,
    crop_tiles,
    cut_tiles,
    hide_digits,
    read_nuclei,
)
from diffusevae.latents.autoencoders.segmentation import OTSU
from diffusevae.latents.models.segmenter import Segmenter
from diffusevae.models.unet import UNetConfig


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


def test_hidden_digits_keep_their_mask_and_gain_only_brightness():
    images = torch.randint(256, (20, 1, 32, 32), generator=generator(0), dtype=torch.uint8)
    images[:, :, :8] = 0
    scene, mask = hide_digits(images, 3, 0.0, generator(1))
    assert torch.equal(mask, (images.float() / 255 > 0.5).float())
    assert (scene >= images.float() / 255).all()
    changed = (scene != images.float() / 255).flatten(1).sum(1)
    assert (changed > 0).all() and (changed <= 3 * 64).all()
    again, _ = hide_digits(images, 3, 0.0, generator(1))
    assert torch.equal(scene, again)
    plain, _ = hide_digits(images, 0, 0.0, generator(1))
    assert torch.equal(plain, images.float() / 255)


def test_tiles_lie_side_by_side_and_crops_keep_image_and_mask_together():
    picture = np.arange(4 * 6, dtype=np.float32).reshape(4, 6)
    tiles = cut_tiles(picture, 2)
    assert tiles.shape == (6, 1, 2, 2)
    assert tiles[1, 0].tolist() == [[2, 3], [8, 9]] and tiles[3, 0].tolist() == [[12, 13], [18, 19]]
    assert cut_tiles(picture, 4).shape == (1, 1, 4, 4)
    images, masks = crop_tiles(
        picture, (picture > 10).astype(np.float32), 3, 50, np.random.default_rng(0)
    )
    assert torch.equal(masks, (images > 10).float())
    assert len({tuple(one.flatten().tolist()) for one in images}) > 15  # turned, mirrored, moved


def test_the_unet_sees_images_centred_at_t_0():
    config = UNetConfig(4, (1, 2), 1, (), 2, 8, 0.0, ("in",))
    model = Segmenter(config, (1, 8, 8))
    seen = {}
    model.unet.forward = lambda x, t: seen.update(x=x, t=t)
    model(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8))
    assert seen["t"].tolist() == [0, 0]
    assert seen["x"][:, 0, 0, 0].tolist() == [-1, 1]


def test_images_without_anything_to_find_are_left_out():
    masks = torch.zeros(3, 1, 2, 2)
    masks[:2, 0, 0] = 1
    half = masks.bool().clone()
    half[:, 0, 0, 0] = False
    unet, otsu = compare_masks("digits", {UNET: masks.bool(), OTSU: half}, masks, 0)
    assert unet["images"] == 2 and unet["iou"] == 1 and otsu["iou"] == 0.5
    assert otsu["change"] == 0.5 and otsu["iou_of_all"] == 0.5


def write_nuclei(folder, image, mask):
    folder.mkdir(exist_ok=True)
    for name, pixels in zip(FILES, (image, mask), strict=True):
        Image.fromarray(pixels.astype(np.uint16)).save(folder / name)


def test_nuclei_are_read_with_any_label_as_inside(tmp_path):
    write_nuclei(tmp_path, np.full((4, 4), 300), np.array([[0, 1, 7, 0]] * 4))
    image, mask = read_nuclei(tmp_path)
    assert image.max() == 300 and mask[0].tolist() == [0, 1, 1, 0]


def test_nuclei_that_cannot_be_read_are_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be read as an image .*dvc repro download@nuclei"):
        read_nuclei(tmp_path)
    write_nuclei(tmp_path, np.zeros((4, 4)), np.zeros((4, 6)))
    with pytest.raises(InputError, match="both must be one grey picture of the same size"):
        read_nuclei(tmp_path)
