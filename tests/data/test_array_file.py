"""Images and labels as arrays of NumPy, and what is wrong with them in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from diffusevae.core.errors import InputError
from diffusevae.data.own_source import find_source, read_source

RNG = np.random.default_rng(0)
COLOURED = RNG.integers(0, 256, (6, 8, 8, 3), np.uint8)


def read(folder, size: int = 8):
    return read_source(folder, size, "bilinear", False)


def test_channels_may_stand_last_or_first_and_be_none(tmp_path):
    expected = torch.from_numpy(COLOURED).permute(0, 3, 1, 2)
    for images in (COLOURED, COLOURED.transpose(0, 3, 1, 2)):
        np.savez(tmp_path / "mine.npz", images=images)
        own = read(tmp_path)
        assert torch.equal(own.images, expected) and own.labels.tolist() == [0] * 6
        assert own.classes == ("all",) and own.sizes == ((8, 8),) * 6
    grey = COLOURED[..., 0]
    for images in (grey, grey[..., None], grey[:, None], np.stack([grey] * 3, -1)):
        np.savez_compressed(tmp_path / "mine.npz", images=images)
        assert torch.equal(read(tmp_path).images, torch.from_numpy(grey)[:, None])


def test_arrays_are_cropped_and_resized_as_files_are(tmp_path):
    wide = RNG.integers(0, 256, (3, 10, 17, 3), np.uint8)
    for name in ("arrays", "files"):
        (tmp_path / name).mkdir()
    np.savez(tmp_path / "arrays/mine.npz", images=wide)
    for i, pixels in enumerate(wide):
        Image.fromarray(pixels).save(tmp_path / f"files/{i}.png")
    arrays, files = read(tmp_path / "arrays", 4), read(tmp_path / "files", 4)
    assert torch.equal(arrays.images, files.images) and arrays.sizes == files.sizes


@pytest.mark.parametrize(
    ("labels", "classes"), [([7, 2, 7, 2, 2, 10], ("2", "7", "10")), (list("bababc"), tuple("abc"))]
)
def test_labels_are_numbers_or_texts(labels, classes, tmp_path):
    np.savez(tmp_path / "mine.npz", images=COLOURED, labels=labels)
    own = read(tmp_path)
    assert own.classes == classes
    assert [own.classes[i] for i in own.labels.tolist()] == [str(each) for each in labels]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": COLOURED}, r"has no array images \(it has x\); write it with numpy.savez"),
        ({"images": COLOURED / 255}, "images are float64, expected uint8 from 0 to 255; convert"),
        ({"images": np.array([COLOURED[0], None], object)}, "images are object, expected uint8"),
        ({"images": COLOURED[0, 0]}, "images are 8 x 3, expected N x H x W, N x"),
        ({"images": RNG.integers(0, 9, (6, 8, 8, 4), np.uint8)}, "images are 6 x 8 x 8 x 4, exp"),
        ({"images": COLOURED[:0]}, "images are 0 x 8 x 8 x 3, expected"),
        ({"images": COLOURED, "labels": [1, 2]}, "labels are int64 2, expected 6 whole numbers"),
        ({"images": COLOURED, "labels": np.ones(6)}, "labels are float64 6, expected 6 whole"),
        (
            {"images": COLOURED, "labels": np.array(["a"] * 6, object)},
            r"labels are object 6, .*labels.astype\(str\)",
        ),
    ],
)
def test_arrays_that_cannot_be_used_are_named_before_they_are_read(arrays, said, tmp_path):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(InputError, match=f"mine.npz: {said}") as caught:
        find_source(tmp_path)
    assert "\n" not in str(caught.value)


def test_damage_is_named_and_nothing_unpickled(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, images=COLOURED)
    whole = path.read_bytes()
    claims = whole.replace(b"(6, 8, 8, 3)", b"(9, 8, 8, 3)")  # more than there is
    for content in (b"", b"PK", whole[: len(whole) // 2], whole[:200] + b"x" * 50, claims):
        path.write_bytes(content)
        with pytest.raises(InputError, match="mine.npz: is no sound .npz file .*write it again"):
            read(tmp_path)


def test_images_come_before_arrays_and_two_files_of_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=COLOURED)
    np.savez(tmp_path / "b.npz", images=COLOURED)
    with pytest.raises(InputError, match=r"holds 2 files of arrays \(a.npz, b.npz\); keep one"):
        find_source(tmp_path)
    Image.new("L", (8, 8), 3).save(tmp_path / "c.png")
    said = []
    assert len(read_source(tmp_path, 8, "bilinear", False, said.append).images) == 1
    assert said == [f"{tmp_path}: skipped what is not read as an image: 2 .npz (a.npz)"]
