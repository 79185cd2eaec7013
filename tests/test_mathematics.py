"""The tutorial's code beside the mathematics runs, block after block, and what it asserts holds."""

import re

import torch

from tests.support.checkouts import ROOT

PAGE = ROOT / "docs/tutorials/mathematics.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_mathematics_of_diffusevae_runs():
    names: dict[str, object] = {"__name__": "mathematics"}
    text = PAGE.read_text(encoding="utf-8")
    with torch.random.fork_rng():
        for block in BLOCK.finditer(text):
            lines_before = text[: block.start(1)].count("\n")  # so that a failure names its line
            exec(compile("\n" * lines_before + block[1], str(PAGE), "exec"), names)
    assert {"schedule", "model", "mixture", "guided"} <= names.keys()
