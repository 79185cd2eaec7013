"""Hidden digits, tiles and nuclei."""

import numpy as np
import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.randomness import generator
from diffusevae.latents.autoencoders.scenes import crop_tiles, cut_tiles, hide_digits, read_nuclei
from tests.support.nuclei import write_nuclei


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
