"""What tests of stages at the command line share."""

from pathlib import Path

import pytest

from tests.support.toy_splits import write_split

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with small splits, and params.yaml with three trials and three epochs in smoke."""
    text = (ROOT / "params.yaml").read_text()
    head, smoke = text.split("  smoke:", 1)
    smoke = smoke.replace("n_trials: 2", "n_trials: 3").replace("epochs: 2\n", "epochs: 3\n")
    (tmp_path / "params.yaml").write_text(f"{head}  smoke:{smoke}")
    for seed, (name, count) in enumerate({"train": 96, "validation": 16}.items()):
        write_split(tmp_path / name, count, seed)
    (tmp_path / "best.yaml").write_text("{}")
    return tmp_path
