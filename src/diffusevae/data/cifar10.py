"""Read CIFAR-10: its authors' archive (binary version: no pickles), or its test images alone."""

import tarfile
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from diffusevae.core.errors import InputError

ARCHIVE, TEST_FILE = "cifar-10-binary.tar.gz", "cifar10_test.npz"
SHAPE = (3, 32, 32)
NUM_CLASSES = 10
BATCH_IMAGES = 10_000
BATCHES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
RECORD_BYTES = 1 + 3 * 32 * 32  # the label, then red, green and blue, each row by row


def read_cifar10(raw_folder: Path, part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
    """Return images (uint8 N x 3 x 32 x 32) and labels (int64 N) in the official order.

    Raises InputError where the archive is not what it should be.
    """
    path = raw_folder / ARCHIVE
    try:
        with tarfile.open(path, "r:gz") as archive:
            parts = [_read_member(path, archive, name) for name in BATCHES[part]]
    except (OSError, EOFError, tarfile.TarError) as error:
        raise _bad_raw(path, f"cannot be read ({error})") from error
    records = np.concatenate(parts)
    return _check(path, records[:, 1:].reshape(-1, *SHAPE), records[:, 0])


def _read_member(path: Path, archive: tarfile.TarFile, name: str) -> np.ndarray:
    try:
        member = archive.getmember(f"cifar-10-batches-bin/{name}")
    except KeyError as error:
        raise _bad_raw(path, f"has no {name}") from error
    expected = BATCH_IMAGES * RECORD_BYTES
    if not member.isfile() or member.size != expected:
        raise _bad_raw(path, f"{name} has {member.size} bytes, expected {expected}")
    file = archive.extractfile(member)
    assert file is not None  # as it is a file
    return np.frombuffer(file.read(), np.uint8).reshape(-1, RECORD_BYTES)


def read_cifar10_test(raw_folder: Path) -> tuple[Tensor, Tensor]:
    """Return the 10,000 test images and labels of TEST_FILE, sorted by class. Raises InputError."""
    path = raw_folder / TEST_FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _bad_raw(path, f"cannot be read ({error})") from error
    if images.shape != (BATCH_IMAGES, 32, 32, 3) or images.dtype != np.uint8:
        raise _bad_raw(
            path,
            f"images are {images.dtype} {list(images.shape)}, expected uint8 "
            f"{[BATCH_IMAGES, 32, 32, 3]}",
        )
    return _check(path, images.transpose(0, 3, 1, 2), labels)


def _check(path: Path, images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    if labels.shape != (len(images),) or labels.max() >= NUM_CLASSES:
        raise _bad_raw(path, f"labels are not {len(images)} numbers from 0 to {NUM_CLASSES - 1}")
    return torch.tensor(images), torch.tensor(labels.astype(np.int64))


def _bad_raw(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: {reason}; get it again with the stage download")
