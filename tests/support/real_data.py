"""The real data sets for tests, fetched once per checkout as the stage download does it."""

import os
from pathlib import Path

from diffusevae.sources.assets import fetch

# A folder with the files that no package registry has; what needs it is marked `mirror`.
MIRROR = Path(os.environ.get("DIFFUSEVAE_MIRROR") or "no-mirror")
SCRATCH = Path(__file__).parents[2] / "scratch"


def raw_folder(source: str) -> Path:
    """Return a folder with the verified raw files of an asset (a key of pinned.ASSETS)."""
    folder = SCRATCH / "tests" / "raw" / source
    fetch(source, folder, scratch=SCRATCH)
    return folder
