"""What several tests of tasks share."""

import matplotlib
import pytest
from matplotlib.font_manager import fontManager


@pytest.fixture
def bundled_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let matplotlib see its own fonts alone, whichever this machine has."""
    own = [
        font for font in fontManager.ttflist if font.fname.startswith(matplotlib.get_data_path())
    ]
    monkeypatch.setattr(fontManager, "ttflist", own)
