"""What `diffusevae data check` says is what the stage prepare does."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import line
from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.data.preparation import prepare
from tasks.data_check import check, find_config

PARAMS = """
datasets:
  pets:
    images: {source: pets, image_size: 16, interpolation: nearest, antialias: false,
             validation_images: 2, train_images: null, test_images: 3, seed: 0}
"""


@pytest.fixture
def pets(tmp_path, monkeypatch) -> Path:
    """A folder of twelve images of two classes, which is a data set of params.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS)
    folder = Path("data/raw/pets")
    rng = np.random.default_rng(0)
    for i in range(12):
        path = folder / ("cats", "d$gs^ 猫")[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20 + i, 30), np.uint8)).save(path)
    return folder


def read_lines(text: str) -> dict[str, list[str]]:
    """Return what was said after each first word."""
    found: dict[str, list[str]] = {}
    for each in text.splitlines():
        word, _, rest = each.partition(" ")
        found.setdefault(word, []).append(rest.strip())
    return found


def test_all_that_the_stage_does_is_said_before_it(pets, capsys, bundled_fonts):
    (pets / "notes.txt").write_text("x")
    Image.new("RGBA", (8, 8), (200, 0, 0, 9)).save(pets / "cats/clear.png")
    check(pets)
    said = read_lines(capsys.readouterr().out)
    assert said["seen"] == ["16 x 16 pixels, nearest (as data set pets of params.yaml)"]
    assert said["used"] == ["13 images: 13 .png"] and "refused" not in said
    assert said["sizes"][0].startswith("from 8 x 8 (cats/clear.png) to 30 x 31 (d$gs^ 猫/11.png)")
    assert said["channels"] == ["3 (1 of 13 images have colours)"]
    assert said["classes"] == ["2: cats 7, d$gs^ 猫 6"]
    path, unwritable = said["picture"]
    assert path == "scratch/data_check/pets.png"
    assert unwritable.startswith("class 1 is d$gs^ 猫: no font of this machine has all of its ch")
    with Image.open("scratch/data_check/pets.png") as picture:
        assert picture.format == "PNG" and len(picture.convert("L").getcolors(10**6)) > 50
    told = []
    prepare(find_config(pets)[1], pets, told.append)
    assert told == [*said["found"], *said["noted"], *said["split"]]


def test_what_is_refused_is_listed_with_all_the_rest_and_ends_in_the_stage_s_error(pets, capsys):
    (pets / "cats/page.jpg").write_text("<html>")
    (pets / "cats/empty.gif").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        check(pets, Path("sheet.png"))
    said = read_lines(capsys.readouterr().out)
    assert [each.split(" ")[0] for each in said["refused"]] == ["cats/empty.gif", "cats/page.jpg"]
    assert said["used"] == ["12 images: 12 .png"] and said["picture"][0] == "sheet.png"
    with pytest.raises(InputError) as of_the_stage:
        prepare(find_config(pets)[1], pets)
    assert str(caught.value) == str(of_the_stage.value)


def test_the_command_takes_a_folder_that_no_data_set_has(pets, tmp_path, capsys):
    Path("photos").mkdir()
    np.savez("photos/mine.npz", images=np.full((3, 9, 9), 7, np.uint8), labels=[4, 4, 5])
    assert line.main(["data", "check", "photos"], tmp_path) == 0
    said = read_lines(capsys.readouterr().out)
    assert said["seen"][0].startswith("64 x 64 pixels, bilinear, antialias (no data set of params")
    assert said["found"] == ["images and labels are those of mine.npz"]
    assert said["classes"] == ["2: 4 2, 5 1"] and said["sizes"] == ["9 x 9, all 3"]
    assert line.main(["data", "check", "gone"], tmp_path) == 2
    assert capsys.readouterr().err.startswith("error: gone: no such folder; make it")
    with pytest.raises(EnvironmentFailure, match="no folder nowhere; name another file"):
        check(Path("photos"), Path("nowhere/sheet.png"))


def test_all_of_a_folder_test_are_test_images_where_none_are_asked_for(pets, capsys):
    Path("params.yaml").write_text(PARAMS.replace("test_images: 3", "test_images: null"))
    with pytest.raises(InputError, match="pets: test_images is null"):
        check(pets)
    for old, new in (("cats", "train"), ("d$gs^ 猫", "test")):
        (pets / new).mkdir()
        (pets / old).rename(pets / new / "kind")
    capsys.readouterr()
    check(pets)
    said = read_lines(capsys.readouterr().out)["split"]
    assert [line.split(" images")[0] for line in said[:3]] == [
        "train: 4",
        "validation: 2",
        "test: 6",
    ]
