"""Classes and splits as tables and folders say them, and what is wrong with them in one line."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from diffusevae.core.errors import InputError
from diffusevae.data.dataset import DatasetConfig
from diffusevae.data.image_folder import find_images
from diffusevae.data.preparation import prepare

ROWS = {"a.png": "dog", "deep/b.png": "cat", "c.png": "dog"}


def write_images(folder: Path, names=tuple(ROWS)) -> None:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), i).save(folder / name)


def write_table(path: Path, rows: dict) -> None:
    """Write file_name and label of each image in the form of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        columns = {"file_name": list(rows), "label": list(rows.values())}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    elif path.suffix == ".jsonl":
        lines = [json.dumps({"file_name": name, "label": each}) for name, each in rows.items()]
        path.write_text("\n".join(lines) + "\n")
    else:
        lines = [f"{name},7,{label}" for name, label in rows.items()]
        path.write_text("\n".join(["file_name,age,label", *lines]), encoding="utf-8-sig")


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "labels.parquet"])
def test_a_table_says_the_classes_whatever_folders_the_images_lie_in(name, tmp_path):
    write_images(tmp_path)
    write_table(tmp_path / name, ROWS)
    found = find_images(tmp_path)
    assert found.names == ("a.png", "c.png", "deep/b.png")
    assert found.labelling.classes == ("cat", "dog") and found.labelling.labels == (1, 1, 0)
    assert found.labelling.parts is None and found.skipped == ""
    assert found.labelling.said == (f"labels are those of {name}",)


def test_whole_numbers_are_sorted_as_numbers(tmp_path):
    names = [f"{i}.png" for i in range(12)]
    for name in ("metadata.csv", "metadata.jsonl"):
        write_images(tmp_path, names)
        write_table(tmp_path / name, {each: i for i, each in enumerate(names)})
        classes = find_images(tmp_path).labelling.classes
        assert classes == tuple(map(str, range(12)))
        (tmp_path / name).unlink()


def test_folders_of_splits_are_splits_and_those_in_them_classes(tmp_path):
    names = ["train/cat/a.png", "train/dog/b.png", "val/cat/c.png", "test/dog/d.png"]
    write_images(tmp_path, names)
    found = find_images(tmp_path)
    said = dict(zip(found.names, found.labelling.parts, strict=True))
    assert [said[name] for name in names] == ["train", "train", "validation", "test"]
    assert found.labelling.classes == ("cat", "dog")
    assert found.labelling.said == ("folders test, train, val are taken as splits",)
    (tmp_path / "owls").mkdir()
    write_images(tmp_path, ["owls/e.png"])  # a folder of another name: all of them are classes
    found = find_images(tmp_path)
    assert found.labelling.parts is None
    assert found.labelling.classes == ("owls", "test", "train", "val")


def test_each_split_may_have_its_own_table(tmp_path):
    """As an imagefolder of Hugging Face's datasets."""
    for part, rows in {"train": {"a.png": "cat", "b.png": "dog"}, "test": {"a.png": "cat"}}.items():
        write_images(tmp_path / part, rows)
        write_table(tmp_path / part / "metadata.csv", rows)
    found = find_images(tmp_path)
    assert found.names == ("test/a.png", "train/a.png", "train/b.png")
    assert found.labelling.labels == (0, 0, 1)
    assert found.labelling.parts == ("test", "train", "train")
    assert found.labelling.said[1] == "labels are those of test/metadata.csv, train/metadata.csv"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROWS | {"gone.png": "cat"}, "1 rows of metadata.csv name no image .*: gone.png; mend"),
        (ROWS | {"../a.png": "cat"}, r"1 rows of metadata.csv name no image .*: \.\./a.png"),
        ({"a.png": "cat"}, "2 of 3 images have no row in metadata.csv: c.png, deep/b.png; mend"),
        (ROWS | {"./a.png": "cat"}, "1 images have two rows in metadata.csv: a.png; mend"),
        (ROWS | {"a.png": ""}, "metadata.csv: row 1: label '' is neither text nor a whole number"),
    ],
)
def test_rows_and_images_that_do_not_match_are_named(rows, said, tmp_path):
    write_images(tmp_path)
    write_table(tmp_path / "metadata.csv", rows)
    with pytest.raises(InputError, match=said) as caught:
        find_images(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("labels.csv", b"filename,label\na.png,1\n", "has no column file_name .it has filename, l"),
        ("labels.csv", b"", "has no column file_name .it has none"),
        ("labels.csv", b"file_name,label\n\xff\xfe,1\n", "is no .csv file .*mend or rename it"),
        ("labels.csv", b'file_name,label\n"a.png,1\n', "is no .csv file"),
        ("labels.jsonl", b'{"file_name": "a.png", "label": 1\n', "is no .jsonl file"),
        ("labels.jsonl", b'{"file_name": "a.png"}\n', "row 1 has no column label .it has fil"),
        ("labels.jsonl", b'["a.png", 1]\n', "row 1 has no column file_name"),
        ("labels.jsonl", b'{"file_name": "a.png", "label": 0.5}', "label '0.5' is neither text"),
        ("labels.csv", b"file_name,label\na.png," + b"x" * 256, "has 256 characters; use at"),
        ("labels.parquet", b"PAR1", "is no .parquet file"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used_are_named(name, content, said, tmp_path):
    write_images(tmp_path, ["a.png"])
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: .*{said}") as caught:
        find_images(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_table_deeper_in_the_folder_labels_nothing(tmp_path):
    write_images(tmp_path, ["cats/a.png"])
    write_table(tmp_path / "cats/metadata.csv", {"b.png": "dog"})
    found = find_images(tmp_path)
    assert found.labelling.classes == ("cats",)
    assert "1 .csv (cats/metadata.csv)" in found.skipped


def test_the_stage_prepare_keeps_each_split_s_images_and_labels(tmp_path):
    """Of a table for each split, and of arrays."""
    config = DatasetConfig("mine", 8, "nearest", False, 3, None, 4, 0)
    for part, count in {"train": 10, "test": 4}.items():
        names = [f"{i}.png" for i in range(count)]
        write_images(tmp_path / "files" / part, names)  # whose pixels are i
        labels = {name: i % 2 for i, name in enumerate(names)}
        write_table(tmp_path / "files" / part / "metadata.csv", labels)
    said = []
    prepared = prepare(config, tmp_path / "files", said.append)
    assert [len(prepared[split]["images"]) for split in ("train", "validation", "test")] == [
        7,
        3,
        4,
    ]
    assert sorted(prepared["test"]["indices"].tolist()) == [0, 1, 2, 3]
    (tmp_path / "arrays").mkdir()
    pixels = np.arange(14, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)
    np.savez(tmp_path / "arrays/mine.npz", images=pixels, labels=np.arange(14) % 2)
    for found in (prepared, prepare(config, tmp_path / "arrays")):
        for tensors in found.values():
            assert torch.equal(tensors["images"][:, 0, 0, 0] % 2, tensors["labels"])
