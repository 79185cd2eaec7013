"""What those who use or change the repository rely on: citation, licence, workflow, line ends."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.checkouts import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.citation-file-format", "CITATION.cff"),
        ("vendor.github-workflows", ".github/workflows/ci.yml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/ci.yml"),
    ],
)
def test_a_file_of_a_known_form_has_it(schema, file):
    program = Path(sys.executable).parent / "check-jsonschema"
    command = [program, "--builtin-schema", schema, "--default-filetype", "yaml", file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_citation_names_this_version_and_licence():
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_workflow_pins_its_actions_by_commit_and_may_only_read():
    workflow = YAML(typ="safe").load(ROOT / ".github/workflows/ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    used = [step["uses"] for step in workflow["jobs"]["test"]["steps"] if "uses" in step]
    assert used
    assert all(len(name.partition("@")[2]) == 40 for name in used)


def test_every_tracked_file_ends_its_lines_with_lf_or_is_binary():
    listed = subprocess.run(
        ["git", "ls-files", "--eol"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    wrong = [
        line
        for line in listed
        if not line.startswith(("i/lf ", "i/-text ", "i/none "))
        or "eol=lf" not in line
        and "attr/-text" not in line
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("a.png", "unset"),
        ("a.npz", "unset"),
        ("a.safetensors", "unset"),
        ("t10k-images-idx3-ubyte", "unset"),
        (".ci/run", "auto"),
        ("Makefile", "auto"),
    ],
)
def test_binary_files_are_never_converted(file, expected):
    said = subprocess.run(
        ["git", "check-attr", "text", "--", file],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    assert said.strip() == f"{file}: text: {expected}"
