import dataclasses
import hashlib
import math
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.core.params import build, leave_out_defaults
from diffusevae.core.tensor_file import load_config, save_tensors
from diffusevae.data.dataset import DatasetConfig, count_at_once, in_batches, load_split, to_unit
from diffusevae.data.idx import read_idx, read_idx_set
from diffusevae.data.preparation import prepare
from diffusevae.data.resizing import resize
from diffusevae.sources.pinned import ASSETS, hash_bytes
from diffusevae.stages import prepare as prepare_stage
from tests.support.real_data import raw_folder

CONFIG = DatasetConfig(
    source="mnist",
    image_size=32,
    interpolation="bilinear",
    antialias=False,
    validation_images=5000,
    train_images=None,
    test_images=None,
    seed=0,
)


def idx(magic: int, *dims: int, values: bytes) -> bytes:
    return struct.pack(f">{1 + len(dims)}I", magic, *dims) + values


def test_idx_images_and_labels_are_read(tmp_path):
    (tmp_path / "images").write_bytes(idx(2051, 2, 1, 3, values=bytes([0, 1, 2, 253, 254, 255])))
    (tmp_path / "labels").write_bytes(idx(2049, 3, values=bytes([7, 2, 1])))
    assert read_idx(tmp_path / "images", 3).tolist() == [[[0, 1, 2]], [[253, 254, 255]]]
    assert read_idx(tmp_path / "labels", 1).tolist() == [7, 2, 1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (idx(2049, 4, values=bytes(20)), "magic 2049, expected 2051"),
        (idx(2051, 1, 2, 2, values=bytes(3)), "19 bytes, expected 20 for 1 x 2 x 2 values"),
        (idx(2051, 1, 2, 2, values=bytes(5)), "21 bytes, expected 20"),
        (idx(2051, 2**31 - 1, 2**31 - 1, 28, values=bytes(4)), "20 bytes, expected"),
        (idx(2051, 2**32 - 1, 28, 28, values=bytes(4)), "20 bytes, expected"),  # -1 if signed
        (idx(2051, 0, 28, 28, values=b""), "16 bytes, expected 16 for 0 x 28 x 28"),
        (b"\x00\x00\x08\x03\x00", "5 bytes, too short"),
        (b"", "0 bytes, too short"),
        (b"<!DOCTYPE html><html></html>", "magic 1008813135, expected 2051"),
        (b"\x1f\x8b" + bytes(30), "magic 529203200, expected 2051"),
    ],
)
@pytest.mark.fault("D5", "D6")
def test_wrong_idx_file_is_refused_with_found_and_expected(tmp_path, content, reason):
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(InputError, match="images: .*; get it again") as caught:
        read_idx(tmp_path / "images", 3)
    assert reason in str(caught.value)


def test_missing_idx_file_is_named(tmp_path):
    with pytest.raises(InputError, match="images: cannot be read .No such file"):
        read_idx(tmp_path / "images", 3)


def write_official(folder: Path, num_images: int, side: int, labels: bytes) -> None:
    (folder / "t10k-images-idx3-ubyte").write_bytes(
        idx(2051, num_images, side, side, values=bytes(num_images * side**2))
    )
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(2049, len(labels), values=labels))


@pytest.mark.parametrize(
    ("num_images", "side", "labels", "reason"),
    [
        (10_000, 32, bytes(10_000), r"shape \[10000, 32, 32\], expected \[10000, 28, 28\]"),
        (9999, 28, bytes(10_000), r"shape \[9999, 28, 28\], expected \[10000"),
        (10_000, 28, bytes(9999), r"labels.* shape \[9999\], expected \[10000\]"),
        (10_000, 28, bytes(9999) + b"\x0a", "labels.* label 10, expected 0 to 9"),
        (10_000, 28, b"\xc8" * 10_000, "labels.* label 200, expected 0 to 9"),
    ],
)
@pytest.mark.fault("D7", "D8")
def test_wrong_official_set_is_refused(tmp_path, num_images, side, labels, reason):
    write_official(tmp_path, num_images, side, labels)
    with pytest.raises(InputError, match=reason):
        read_idx_set(tmp_path, "t10k")


def test_official_set_has_one_channel_and_whole_labels(tmp_path):
    write_official(tmp_path, 10_000, 28, bytes(9999) + b"\x09")
    images, labels = read_idx_set(tmp_path, "t10k")
    assert (images.shape, images.dtype) == ((10_000, 1, 28, 28), torch.uint8)
    assert (labels.shape, labels.dtype) == ((10_000,), torch.int64)
    assert labels[-1] == 9


ROW = torch.tensor([0, 100], dtype=torch.uint8).expand(1, 1, 2, 2)


def test_bilinear_values_by_hand():
    # Output pixel i lies at (i + 1/2) / 2 - 1/2 = -1/4, 1/4, 3/4, 5/4 of the input's pixels.
    assert resize(ROW, 4, "bilinear", False)[0, 0].tolist() == [[0, 25, 75, 100]] * 4


def test_nearest_values_by_hand():
    assert resize(ROW, 4, "nearest", False)[0, 0].tolist() == [[0, 0, 100, 100]] * 4


def test_antialias_averages_when_shrinking():
    # Output pixel 0 lies between the input's columns 1 and 2; column 0 counts only with antialias,
    # which weighs columns 0 to 5 by a triangle: 5/8, 7/8, 7/8, 5/8, 3/8, 1/8.
    stripe = torch.tensor([224] + [0] * 7, dtype=torch.uint8).expand(1, 1, 8, 8)
    assert resize(stripe, 2, "bilinear", False).max() == 0
    assert resize(stripe, 2, "bilinear", True)[0, 0].tolist() == [[224 * 5 // 28, 0]] * 2


def test_bicubic_overshoot_is_clamped_not_wrapped():
    edge = torch.tensor([0] * 4 + [255] * 4, dtype=torch.uint8).expand(1, 1, 8, 8)
    row = resize(edge, 16, "bicubic", False)[0, 0, 8].tolist()
    assert row == sorted(row)  # a wrapped overshoot would be dark among the white


def test_resize_rounds_to_the_nearest_in_every_chunk():
    images = torch.randint(
        0, 256, (8200, 1, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    resized = resize(images, 7, "bilinear", False)
    exact = torch.nn.functional.interpolate(images.double(), (7, 7), mode="bilinear")
    assert resized.dtype == torch.uint8
    assert (resized.double() - exact).abs().max() <= 0.5 + 1e-4
    assert torch.equal(resize(images, 5, "bilinear", False), images)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"validation_images": 59_000, "train_images": 1001}, "need 60001 images"),
        ({"validation_images": 60_000}, "need 60001 images"),
        ({"test_images": 10_001}, "test_images is 10001; the official test set has 10000"),
        ({"interpolation": "nearest", "antialias": True}, "antialias: true goes with bilinear"),
        ({"interpolation": "lanczos"}, "none of bilinear, bicubic, nearest"),
        ({"image_size": 3}, "images.image_size: 3 is out of range"),
        ({"train_images": 0}, "train_images: 0 is out of range"),
        (
            {"flips": True},
            "flips: true, but mirrored images of mnist are other signs, or none; set",
        ),
    ],
)
def test_impossible_configuration_is_refused(changes, reason):
    with pytest.raises(InputError, match=reason):
        build(DatasetConfig, dataclasses.asdict(CONFIG) | changes, "images")
    assert build(DatasetConfig, dataclasses.asdict(CONFIG), "images") == CONFIG


def test_a_split_says_whether_its_images_may_be_mirrored(tmp_path):
    """Only where they may: the bytes of other data sets are what they were."""
    raw = {"raw": raw_folder("fashion_mnist"), "log": SimpleNamespace(message=lambda text: None)}
    small = dict(source="fashion_mnist", validation_images=10, train_images=20, test_images=10)
    for flips in (False, True):
        images = dataclasses.replace(CONFIG, **small, flips=flips)
        out = tmp_path / str(flips)
        prepare_stage.run(SimpleNamespace(images=images), **raw, out=out)
        split = load_split(out / "train.safetensors")
        assert split.flips is split.to("cpu").flips is flips
        assert ("flips" in load_config(out / "train.safetensors")) is flips
        mirrored = [split.images.flip(-1)] if flips else []
        assert torch.equal(split.shown, torch.cat([split.images, *mirrored]))


def test_unit_range_is_exact_at_its_ends():
    unit = to_unit(torch.tensor([[0, 51, 255]], dtype=torch.uint8))
    assert unit.dtype == torch.float32
    assert torch.equal(unit, torch.tensor([[0, 0.2, 1]]))


def test_split_survives_the_way_over_the_disk(tmp_path):
    tensors = {
        "images": torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2),
        "labels": torch.tensor([3, 1]),
        "indices": torch.tensor([5, 9]),
    }
    save_tensors(tmp_path / "train.safetensors", tensors)
    split = load_split(tmp_path / "train.safetensors").to("cpu")
    assert len(split) == 2
    assert all(torch.equal(getattr(split, name), tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    "change",
    [
        {"images": torch.zeros(2, 1, 2, 2)},
        {"labels": torch.zeros(3, dtype=torch.int64)},
        {"more": torch.zeros(2)},
    ],
)
def test_file_that_is_no_split_is_refused(tmp_path, change):
    tensors = {
        "images": torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
        "labels": torch.zeros(2, dtype=torch.int64),
        "indices": torch.zeros(2, dtype=torch.int64),
    }
    save_tensors(tmp_path / "x.safetensors", tensors | change)
    with pytest.raises(InputError, match="x.safetensors: not a prepared split .found images"):
        load_split(tmp_path / "x.safetensors")


# Images of each class of the official training and test set, and the mean at 32 x 32.
FACTS = {
    "mnist": (
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        0.131,
    ),
    "fashion_mnist": ([6000] * 10, [1000] * 10, 0.285),
}
# SHA-256 of the arrays images (uint8), labels and indices (int64), one after the other, by CONFIG.
# From 28 to 32 weights are whole 256ths, so sums are exact in float32: the same on every machine.
PREPARED = {
    "mnist": {
        "train": "e6c82b328f401cb80a61ada541a7f3fdf6d9ce93644faf40625123d86e94da7f",
        "validation": "37d622a124247302449ec3b55c304abc8f4d64885665ca15ab0cf5bdefff0aa2",
        "test": "debc630ef41563f44408dac6a4b42e1f0db1f00d411f6773386fa35d752f9e6c",
    },
    "fashion_mnist": {
        "train": "9f99a1d43cf491e58fb80355cd22dcc34e04c3d3c48aeb511ed234647b24fcd2",
        "validation": "7cf537a01dc76af9f964a176faf42e5096342fa1b34480419def445993bc8cb3",
        "test": "c82c85666bf2428132e5e455df6b4c37dd54ae1efd1a97dff1b1ff4a78c85fd1",
    },
}


@pytest.mark.parametrize("source", FACTS)
def test_real_data_has_its_known_bytes_classes_mean_and_labels(source):
    known_train, known_test, mean = FACTS[source]
    raw = raw_folder(source)
    for file in ASSETS[source].files:  # the hashes of the files as they are published
        assert hash_bytes((raw / file.name).read_bytes()) == file.content_hash
    prepared = prepare(dataclasses.replace(CONFIG, source=source), raw)
    train, validation, test = (prepared[name] for name in ("train", "validation", "test"))
    counts = torch.cat([train["labels"], validation["labels"]]).bincount()
    assert counts.tolist() == known_train
    assert test["labels"].bincount().tolist() == known_test
    images = torch.cat([train["images"], validation["images"]])
    assert images.shape == (60_000, 1, 32, 32)
    assert images.to(torch.float64).mean() / 255 == pytest.approx(mean, abs=5e-4)
    # Each image belongs to its index and label; of the official test set every image is there.
    for prefix, split in (("train", train), ("t10k", test)):
        labels = np.frombuffer((raw / f"{prefix}-labels-idx1-ubyte").read_bytes(), np.uint8)[8:]
        assert split["labels"].tolist() == labels[split["indices"].numpy()].tolist()
    assert test["indices"].sort().values.tolist() == list(range(10_000))
    first = {"mnist": [7, 2, 1, 0, 4], "fashion_mnist": [9, 2, 1, 1, 6]}[source]
    assert test["labels"][test["indices"].argsort()][:5].tolist() == first
    for name, split in prepared.items():
        arrays = b"".join(split[key].numpy().tobytes() for key in ("images", "labels", "indices"))
        assert hash_bytes(arrays) == PREPARED[source][name]


def test_stage_writes_the_same_bytes_every_time(tmp_path):
    images = dataclasses.replace(
        CONFIG, validation_images=50, train_images=200, test_images=100, image_size=28
    )
    raw, hashes = raw_folder("mnist"), []
    for out in (tmp_path / "first", tmp_path / "second"):
        log = SimpleNamespace(message=lambda text: None)
        prepare_stage.run(SimpleNamespace(key="x", images=images), raw=raw, out=out, log=log)
        hashes.append(
            {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}
        )
    assert hashes[0] == hashes[1]
    assert hashes[0].keys() == {f"{name}.safetensors" for name in ("train", "validation", "test")}
    assert load_config(out / "train.safetensors") == leave_out_defaults(images)
    # At the raw size nothing is interpolated: the pixels are those of the idx file.
    split = load_split(out / "train.safetensors")
    official = read_idx(raw / "train-images-idx3-ubyte", 3)
    assert np.array_equal(split.images[:, 0].numpy(), official[split.indices.numpy()])
    assert len(load_split(out / "validation.safetensors")) == 50
    assert len(load_split(out / "test.safetensors")) == 100


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((1, 28, 28), 500),
        ((3, 32, 32), 500),
        ((1, 800), 500),  # a spectrum
        ((1, 64, 64), 125),
        ((3, 128, 128), 31),
        ((1, 2000, 2000), 1),
    ],
)
def test_as_many_items_at_once_as_have_the_pixels_of_500_small_images(shape, count):
    assert count_at_once(shape) == count
    if math.prod(shape) < 10_000:
        assert [len(part) for part in in_batches(torch.zeros(501, *shape))][0] == min(count, 501)
    assert [len(part) for part in in_batches(torch.zeros(count + 1, 8), shape)] == [count, 1]
