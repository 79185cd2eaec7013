"""Where two files differ, in words."""

import pytest
import torch

from diffusevae.core.tensor_file import save_tensors
from tasks import reproduction
from tasks.reproduction import compare_files, describe_difference, list_other_packages

A, B = torch.zeros(2, 3), torch.zeros(2, 3)


@pytest.mark.parametrize(
    "tensors, said",
    [
        ({"b": B, "a": A + 0.5}, "tensor a: 6 of 6 numbers, by 0.5 at most"),
        ({"b": B, "c": A}, "tensor a is in one of them only"),
        ({"b": B.int(), "a": A}, "tensor b: (2, 3) float32 -> (2, 3) int32"),
    ],
)
def test_of_tensors_the_first_that_differs_is_named(tensors, said, tmp_path):
    save_tensors(tmp_path / "old.safetensors", {"b": B, "a": A})
    save_tensors(tmp_path / "new.safetensors", tensors)
    assert compare_files(tmp_path / "old.safetensors", tmp_path / "new.safetensors") == said


@pytest.mark.parametrize(
    "name, old, new, said",
    [
        ("a.csv", "x,y\n1,2\n", "x,y\n1,3\n", "line 2: '1,2' -> '1,3'"),
        ("a.csv", "x,y\n", "x,y\n1,2\n", "one has more lines"),
        ("a.png", "abcd", "abxd", "byte 2"),
        ("a.png", "abcd", "ab", "its length"),
    ],
)
def test_of_text_a_line_and_of_all_else_a_byte(name, old, new, said, tmp_path):
    for folder, text in (("old", old), ("new", new)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    assert compare_files(tmp_path / "old" / name, tmp_path / "new" / name) == said


def test_of_a_folder_the_first_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, names in (("out", "abd"), ("clean/out", "abc")):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / name).write_text(name)
    out = tmp_path.joinpath("out").relative_to(tmp_path)
    assert describe_difference(tmp_path / "clean", out) == "out/d was not made"
    (tmp_path / "out/d").unlink()
    assert describe_difference(tmp_path / "clean", out) == "out/c is new"
    (tmp_path / "clean/out/b").write_text("x")
    assert describe_difference(tmp_path / "clean", out) == "out/b differs: byte 0"


def test_packages_that_are_not_as_pinned_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction, "version", lambda name: "1.2")
    (tmp_path / "constraints").write_text('a==1.2\nb==1.3\nc==1.3; python_version < "3"\n')
    assert list_other_packages(tmp_path / "constraints") == ["b: ==1.3 -> 1.2"]
