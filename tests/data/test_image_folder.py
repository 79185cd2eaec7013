"""Folders of the user's own images, written with Pillow."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusevae.core.errors import InputError
from diffusevae.data.dataset import DatasetConfig
from diffusevae.data.image_folder import LEFT_BEHIND, find_images
from diffusevae.data.own_source import read_source
from diffusevae.data.preparation import prepare

ROOT = Path(__file__).parents[2]


def write(path, colour, size=(8, 8), mode="RGB", **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def read(folder, size: int = 4, say=lambda text: None) -> tuple[torch.Tensor, torch.Tensor]:
    own = read_source(folder, size, "bilinear", False, say)
    own.require_sound(folder)
    for note in own.notes:
        say(note)
    return own.images, own.labels


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


@pytest.mark.fault("B7")
def test_all_files_that_cannot_be_used_are_named_at_once(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    write(tmp_path / "good.png", (1, 2, 3))
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "empty.gif").write_bytes(b"")
    write(tmp_path / "scan.tif", 0.5, mode="F")
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}: 4 of 5 images cannot be used: cut.png (damaged: ")
    assert "empty.gif (no image, whatever its name says), page.jpg (no image," in said
    assert "scan.tif (pixels of mode F," in said and said.endswith("; mend or remove them")
    assert "\n" not in said
    for i in range(4):
        (tmp_path / f"x{i}.png").write_text("no image")
    with pytest.raises(InputError, match="8 of 9 images .* and 3 more; mend or remove them"):
        read(tmp_path)


def test_what_is_peculiar_is_counted_in_one_line_for_each_kind(tmp_path):
    said = []
    for i in range(3):
        write(tmp_path / f"cats/{i}.png", (9, 9, 9, 100), mode="RGBA")
    frames = [Image.new("L", (8, 8), grey) for grey in (1, 2)]
    frames[0].save(tmp_path / "cats/a.gif", save_all=True, append_images=frames[1:])
    for name in ("cats/b.heic", "cats/c.HEIC", "cats/notes.txt", "cats/README"):
        (tmp_path / name).write_bytes(b"x")
    for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX", "cats/.thumbnails"):
        write(tmp_path / f"{name}/0.png", 0)
    for name in (".DS_Store", "cats/._0.png", "cats/Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    images, labels = read(tmp_path, say=said.append)
    assert len(images) == 4 and labels.tolist() == [0] * 4  # hidden folders are no classes
    assert said == [
        f"{tmp_path}: skipped what is not read as an image: 2 .heic (cats/b.heic), 1 .txt "
        "(cats/notes.txt), 7 hidden (.DS_Store), 1 without suffix (cats/README)",
        "images with several frames or pages, of which the first is taken: 1 (such as cats/a.gif)",
        "images with transparent parts, which are put on white: 3 (such as cats/0.png)",
    ]


def test_dvc_sees_no_change_in_what_programs_leave_behind(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text((ROOT / ".dvc/config").read_text())
    (tmp_path / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
    left = [
        f"data/raw/pets/{folder}{name}"
        for folder in ("", "cats/")
        for name in (*LEFT_BEHIND, ".DS_Store", ".thumbnails", "._a.png")
    ]
    data = ["data/raw/pets/cats/a.png", "data/raw/mnist/t10k-images-idx3-ubyte"]
    done = subprocess.run(
        [Path(sys.executable).parent / "dvc", "check-ignore", *left, *data],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert sorted(done.stdout.splitlines()) == sorted(left), done.stderr


def test_what_dvc_cannot_keep_is_named_before_it_fails(tmp_path):
    """DVC sees no change behind links to folders, and stops at the others with a traceback."""
    write(tmp_path / "pets/cats/a.png", 0)
    write(tmp_path / "elsewhere/b.png", 0)
    (tmp_path / "pets/dogs").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pets/round").symlink_to(tmp_path / "pets")
    (tmp_path / "pets/cats/c.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "pets/cats/d.png").symlink_to(tmp_path / "elsewhere/b.png")  # this one is kept
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/pets/cats/caf\xe9.png")).touch()
    with pytest.raises(InputError) as caught:
        find_images(tmp_path / "pets")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/pets: 4 files or folders cannot be used: ")
    assert "dogs (a link to a folder, in which DVC sees no change: put the folder itself" in said
    assert "round (a link to a folder" in said and "cats/c.png (a link to nothing" in said
    assert r"cats/caf\xe9.png (its name is not UTF-8: rename it)" in said
    assert said.encode() and "d.png (" not in said.replace("c.png (", "")


def test_a_link_to_a_file_and_a_folder_that_is_itself_a_link_are_read(tmp_path):
    write(tmp_path / "elsewhere/cats/b.png", 7)
    (tmp_path / "elsewhere/cats/c.png").symlink_to("b.png")
    (tmp_path / "pets").symlink_to("elsewhere")
    assert len(read(tmp_path / "pets")[0]) == 2


@pytest.mark.fault("B9")
def test_names_are_of_any_alphabet(tmp_path):
    write(tmp_path / "猫/ä é.png", 7)
    write(tmp_path / "собаки/1.png", 8)
    own = read_source(tmp_path, 4, "bilinear", False)
    assert own.classes == ("собаки", "猫") and own.files == ("собаки/1.png", "猫/ä é.png")


CONFIG = DatasetConfig(
    source="pets",
    image_size=8,
    interpolation="bilinear",
    antialias=False,
    validation_images=10,
    train_images=None,
    test_images=10,
    seed=0,
)


def test_copies_in_another_split_are_counted_and_small_classes_named(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(40):
        (tmp_path / "cats").mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"cats/{i:02}.png")
    write(tmp_path / "dogs/a.png", 3, mode="L")
    said = []
    prepare(CONFIG, tmp_path, said.append)
    warnings = [line for line in said if line.startswith("warning")]
    assert warnings == [
        "warning: 1 of 2 classes are not in every split: dogs (1 image, not in "
        "validation and test); add images of them, or ask for larger splits"
    ]
    for i in range(40):  # twice each, under another name and as another kind of file
        Image.open(tmp_path / f"cats/{i:02}.png").save(tmp_path / f"cats/copy{i:02}.bmp")
    said.clear()
    prepared = prepare(CONFIG, tmp_path, said.append)
    [warning] = [line for line in said if "pixel by pixel" in line]
    found = {
        name: {image.numpy().tobytes() for image in tensors["images"]}
        for name, tensors in prepared.items()
    }
    of = {
        name: sum(image.numpy().tobytes() in found["train"] for image in prepared[name]["images"])
        for name in ("validation", "test")
    }
    count = int(re.search(r"too: (\d+) \(", warning)[1])
    assert count >= sum(of.values()) > 10
    copy, split, original, other = re.search(
        r"\((\S+) in (\w+) is (\S+) in (\w+)\)", warning
    ).groups()
    assert split != other and copy != original
    assert re.sub(r"\D", "", copy) == re.sub(r"\D", "", original)


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


def test_names_that_are_markup_options_or_commands_are_names_alone(tmp_path):
    """Read, said in one line each, and followed by DVC."""
    names = ["-rf", "--help", "<img src=x>", 'it\'s "so"', "new\nline", "$(touch x)", "`touch x`"]
    folder = tmp_path / "data"
    for i, name in enumerate(names):
        write(folder / name / f"-{i}\n<b>.png", i)
    (folder / names[0] / "<i>\n.txt").touch()
    said = []
    images, labels = read(folder, say=said.append)
    assert len(images) == len(names) and sorted(labels.tolist()) == [*range(len(names))]
    assert said and not [line for line in said if "\n" in line]
    for command in (["init", "--no-scm", "-q"], ["repro", "-q"], ["status", "-q"]):
        (tmp_path / "dvc.yaml").write_text(
            "stages: {one: {cmd: 'echo 1 > one', deps: [data], outs: [one]}}"
        )
        dvc = [sys.executable, "-m", "dvc", *command]
        subprocess.run(dvc, cwd=tmp_path, check=True, timeout=120)
    assert {path.name for path in tmp_path.iterdir()} & {"x", "one"} == {"one"}
