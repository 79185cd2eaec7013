"""What decides and what checks need no drawing, and what samples no training loop.

A stage's start is that of torch and little more: an import that only one of them needs is its own.
"""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("diffusevae", "torch"),
        ("diffusevae.metrics.promotion", "matplotlib"),
        ("diffusevae.experiments.consistency", "matplotlib"),
        ("diffusevae.experiments.experiment", "matplotlib"),
        ("diffusevae.stages.sample", "diffusevae.training.loop"),
        ("diffusevae.stages.sample", "pandas"),
        ("diffusevae.stages.train_vae", "pandas"),
        ("diffusevae.stages.train_diffusevae", "pandas"),
        ("diffusevae.stages.evaluate", "scipy.stats"),
        ("tests.support.short_training", "torch._dynamo"),  # of torch.compile
    ],
)
def test_a_module_does_not_import_what_it_does_not_need(module, heavy):
    code = f"import sys, {module}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
