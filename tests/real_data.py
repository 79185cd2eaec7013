"""The real data sets for tests, fetched once per checkout as the stage download does it."""

from pathlib import Path

from diffusevae.assets import fetch

SCRATCH = Path(__file__).parents[1] / "scratch"


def raw_folder(source: str) -> Path:
    """Return a folder with the verified raw files of "mnist", "fashion_mnist" or "alexnet"."""
    folder = SCRATCH / "tests" / "raw" / source
    fetch(source, folder, scratch=SCRATCH)
    return folder
