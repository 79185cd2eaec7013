"""CIFAR-10 from an archive of the authors' layout, made of the real test images."""

import io
import tarfile

import numpy as np
import pytest
import torch

from diffusevae.core.errors import InputError
from diffusevae.data.cifar10 import ARCHIVE, TEST_FILE, read_cifar10, read_cifar10_test
from tests.support.real_data import raw_folder

BATCHES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


@pytest.fixture(scope="module")
def real() -> tuple[torch.Tensor, torch.Tensor]:
    return read_cifar10_test(raw_folder("cifar10_test"))


def write_archive(folder, batches: dict[str, bytes]) -> None:
    with tarfile.open(folder / ARCHIVE, "w:gz", compresslevel=0) as archive:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.mirror
def test_real_test_images_have_their_classes_and_colours(real):
    images, labels = real
    assert images.shape == (10_000, 3, 32, 32) and images.dtype == torch.uint8
    assert labels.bincount().tolist() == [1000] * 10
    # The published means of the training images are 0.491, 0.482, 0.447; those of the test images
    # lie near them.
    means = images.double().mean((0, 2, 3)) / 255
    assert means.tolist() == pytest.approx([0.491, 0.482, 0.447], abs=0.006)


@pytest.mark.mirror
def test_an_archive_gives_back_images_and_labels_in_order(tmp_path, real):
    images, labels = real
    records = torch.cat([labels[:, None].byte(), images.flatten(1)], 1).numpy()
    order = np.random.default_rng(0).permutation(10_000)
    contents = {
        name: np.roll(records[order], i, axis=0).tobytes() for i, name in enumerate(BATCHES)
    }
    write_archive(tmp_path, contents)
    train, train_labels = read_cifar10(tmp_path, "train")
    assert train.shape == (50_000, 3, 32, 32)
    assert torch.equal(train[:10_000], images[order])
    assert torch.equal(train[10_001:20_000], images[order][:-1])  # rolled by one
    assert torch.equal(train_labels[:10_000], labels[order])
    test, _ = read_cifar10(tmp_path, "test")
    assert torch.equal(test[5:], images[order][:-5])


@pytest.mark.parametrize(
    ("batches", "reason"),
    [
        ({}, "has no data_batch_1.bin"),
        ({"data_batch_1.bin": bytes(3073)}, "data_batch_1.bin has 3073 bytes, expected 30730000"),
        (dict.fromkeys(BATCHES, b"\x0a" * 30_730_000), "labels are not 50000 numbers from 0 to 9"),
    ],
)
def test_wrong_archive_is_refused(tmp_path, batches, reason):
    write_archive(tmp_path, batches)
    with pytest.raises(InputError, match=f"{reason}.*; get it again with the stage download"):
        read_cifar10(tmp_path, "train")


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x1f\x8b" + bytes(30)])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / ARCHIVE).write_bytes(content)
    (tmp_path / TEST_FILE).write_bytes(content)
    for read in (lambda: read_cifar10(tmp_path, "test"), lambda: read_cifar10_test(tmp_path)):
        with pytest.raises(InputError, match="cannot be read"):
            read()


@pytest.mark.fault("S5")
def test_an_npz_of_pickles_or_of_other_images_is_refused(tmp_path):
    np.savez(tmp_path / TEST_FILE, images=np.array([object()]), labels=np.zeros(1))
    with pytest.raises(InputError, match="cannot be read"):
        read_cifar10_test(tmp_path)
    np.savez(tmp_path / TEST_FILE, images=np.zeros((5, 32, 32, 3)), labels=np.zeros(5))
    with pytest.raises(InputError, match=r"images are float64 \[5, 32, 32, 3\], expected uint8"):
        read_cifar10_test(tmp_path)
