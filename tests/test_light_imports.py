"""What decides and what checks need no drawing, and what samples no training loop."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("diffusevae.metrics.promotion", "matplotlib"),
        ("diffusevae.experiments.consistency", "matplotlib"),
        ("diffusevae.experiments.experiment", "matplotlib"),
        ("diffusevae.stages.sample", "diffusevae.training.loop"),
    ],
)
def test_a_module_does_not_import_what_it_does_not_need(module, heavy):
    code = f"import sys, {module}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
