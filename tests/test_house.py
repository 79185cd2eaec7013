"""The house stays in order: small modules and functions, no name of a place that is not there."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.checkouts import ROOT

CODE = ("src", "tasks", "flows", "apps", "command")
MODULE_LINES, FUNCTION_LINES = 250, 45
MODULES = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
# Where names of earlier places belong: the record of what was run, and of what changed.
RECORDS = re.compile(r"(CHANGELOG\.md|dvc\.lock|docs/results/.*)$")
DOTTED = re.compile(
    r"(?<![\w./-])(diffusevae|tasks|flows|apps|command|benchmarks|tests)((?:\.[a-z_]\w*)+)"
)
FILE = re.compile(
    r"\b(?:src/diffusevae|tasks|flows|apps|command|benchmarks|tests)/[\w/]+\.(?:py|html|css)\b"
)
NAMES = {path.stem for path in MODULES}


def test_no_module_is_too_long():
    lines = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in MODULES}
    assert find_longer(lines, MODULE_LINES) == {}


def test_no_function_is_too_long():
    lines = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert find_longer(lines, FUNCTION_LINES) == {}


def find_longer(lines: dict[str, int], most: int) -> dict[str, int]:
    """Return what has more lines than it may."""
    return {name: count for name, count in lines.items() if count > most}


def list_texts() -> list[Path]:
    """Return every tracked text file that says where things are now."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()
    kinds = {".py", ".md", ".toml", ".yaml", ".yml", ".html", ".css", ".js", ".jinja", ".sh", ""}
    return [
        ROOT / name
        for name in listed
        if Path(name).suffix in kinds and not RECORDS.match(name) and (ROOT / name).is_file()
    ]


def find_gone(root: Path, text: str) -> set[str]:
    """Return the modules and files of the project that a text names and that are not there."""
    gone = {name for name in FILE.findall(text) if not (root / name).exists()}
    for package, rest in DOTTED.findall(text):
        place = root / ("src/diffusevae" if package == "diffusevae" else package)
        for part in rest[1:].split("."):
            if not place.is_dir():  # a module, and something in it
                break
            if not (place / part).is_dir() and not (place / f"{part}.py").is_file():
                if part in NAMES:  # which lies elsewhere; else it is something in the package
                    gone.add(f"{package}{rest}")
                break
            place = place / part if (place / part).is_dir() else place / f"{part}.py"
    return gone


def test_no_text_names_a_place_that_is_not_there():
    found = {path: find_gone(ROOT, path.read_text(errors="replace")) for path in list_texts()}
    assert {str(path.relative_to(ROOT)): gone for path, gone in found.items() if gone} == {}


@pytest.mark.parametrize(
    "name", ["src/diffusevae/" + "vae.py", "diffusevae." + "vae_training", "tests/" + "test_vae.py"]
)
def test_a_name_of_the_flat_layout_is_found(name):
    assert find_gone(ROOT, f"see {name} for more") == {name}


def test_no_test_imports_from_another():
    """What several need is in tests/support."""
    pattern = re.compile(r"^ *(?:from|import) tests\.\w+\.test_", re.MULTILINE)
    tests = (ROOT / "tests").rglob("*.py")
    assert not [str(path) for path in tests if pattern.search(path.read_text())]


def test_no_two_classes_have_one_name():
    names = [
        node.name
        for path in MODULES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted(names) == sorted(set(names))
