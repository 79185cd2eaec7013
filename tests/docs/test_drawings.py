"""The drawings in docs/images: of the layers and stages that there are, and whole by themselves."""

import re
import tomllib
from xml.etree import ElementTree

import pytest

from diffusevae.core.yaml_file import read_yaml
from tests.support.checkouts import ROOT

SVG = "{http://www.w3.org/2000/svg}"
IMAGES = ROOT / "docs/images"


def read_texts(name: str) -> list[ElementTree.Element]:
    return list(ElementTree.parse(IMAGES / name).iter(f"{SVG}text"))


def split(layers: str) -> set[str]:
    return set(re.split(r" [|] |, ", layers))


def test_the_layers_are_those_that_imports_are_held_to():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages, library = (contract["layers"] for contract in contracts["contracts"][:2])
    expected = {*packages, *(name for layer in library for name in split(layer))}
    named = [text.text for text in read_texts("layers.svg") if text.get("class") == "name"]
    drawn = set().union(*map(split, named))
    assert drawn == expected - {"diffusevae", "__main__"}


def test_the_data_goes_through_stages_that_there_are():
    drawn = {text.text for text in read_texts("data_way.svg") if " " not in text.text}
    assert drawn - {"register", "gate", "frozen"} <= set(read_yaml(ROOT / "dvc.yaml")["stages"])


@pytest.mark.parametrize("drawing", sorted(IMAGES.glob("*.svg")), ids=lambda path: path.name)
def test_a_drawing_needs_nothing_else_and_knows_the_dark(drawing):
    text = drawing.read_text()
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme: dark" in text and "<title" in text
