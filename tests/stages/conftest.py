"""What tests of stages at the command line share."""

from pathlib import Path

import pytest

from tests.support.toy_splits import write_stage_folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with small splits, and params.yaml with three trials and three epochs in smoke."""
    write_stage_folder(tmp_path)
    return tmp_path
