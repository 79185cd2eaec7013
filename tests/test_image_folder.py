"""Folders of the user's own images, written with Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffusevae.errors import InputError
from diffusevae.image_folder import find_images, read_image_folder


def write(path, colour, size=(8, 8), mode="RGB", **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def read(folder, size: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    return read_image_folder(folder, size, "bilinear", False)


def test_sub_folders_are_classes_and_files_come_by_path(tmp_path):
    write(tmp_path / "dogs/b.png", (255, 0, 0))
    write(tmp_path / "dogs/deep/a.PNG", (0, 255, 0))
    write(tmp_path / "cats/z.webp", (0, 0, 255), lossless=True)
    (tmp_path / "dogs/notes.txt").write_text("not an image")
    (tmp_path / "dogs/._b.png").write_bytes(b"what a Mac leaves behind")
    images, labels = read(tmp_path)
    assert images.shape == (3, 3, 4, 4) and images.dtype == torch.uint8
    assert labels.tolist() == [0, 1, 1]
    assert images[:, :, 0, 0].tolist() == [[0, 0, 255], [255, 0, 0], [0, 255, 0]]


def test_without_sub_folders_there_is_one_class_and_grey_images_have_one_channel(tmp_path):
    write(tmp_path / "a.png", 7, mode="L")
    write(tmp_path / "b.png", (9, 9, 9))
    images, labels = read(tmp_path)
    assert images.shape == (2, 1, 4, 4)
    assert images[:, 0, 0, 0].tolist() == [7, 9] and labels.tolist() == [0, 0]


def test_one_coloured_pixel_makes_three_channels(tmp_path):
    write(tmp_path / "a.png", 7, mode="L")
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[2, 3, 1] = 1
    Image.fromarray(pixels).save(tmp_path / "b.png")
    assert read(tmp_path)[0].shape == (2, 3, 4, 4)


def test_the_middle_square_is_taken_and_resized(tmp_path):
    pixels = np.zeros((4, 10, 3), np.uint8)
    pixels[:, 3:7] = 200  # the middle square
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "high.png")
    images, _ = read(tmp_path, size=2)
    assert images.unique().tolist() == [200]


def test_a_camera_s_orientation_is_obeyed(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0] = 255  # white on top
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: white goes to the right
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = read(tmp_path)[0][0, 0]
    assert image[:, 3].tolist() == [255] * 4 and image[:, 0].tolist() == [0] * 4


def test_what_is_no_image_is_named(tmp_path):
    write(tmp_path / "a.png", (1, 2, 3))
    (tmp_path / "b.jpg").write_text("<html>")
    with pytest.raises(InputError, match=r"b.jpg: cannot be read as an image .*; mend or remove"):
        read(tmp_path)


def test_a_truncated_image_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="a.png: cannot be read as an image"):
        read(tmp_path)


def test_sixteen_bits_are_refused_rather_than_cut_off(tmp_path):
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="a.png: more than 8 bits per channel"):
        read(tmp_path)


def test_images_both_in_sub_folders_and_beside_them_are_refused(tmp_path):
    write(tmp_path / "cats/a.png", 0)
    write(tmp_path / "b.png", 0)
    with pytest.raises(InputError, match="both in sub-folders and beside them"):
        read(tmp_path)


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="none: no such folder; make it"):
        find_images(tmp_path / "none")
    with pytest.raises(InputError, match="holds no image .*put yours there"):
        find_images(tmp_path)
