"""Where an experiment's published results lie, and what was measured of them."""

from pathlib import Path
from typing import Any

from diffusevae.metrics.measured import read_metrics

RESULTS = Path("docs/results")


def load_metrics(folder: Path) -> dict[str, Any]:
    """Return the metrics.json of a folder. Raises InputError."""
    return read_metrics(folder / "metrics.json")
