"""Get a data set's files, or AlexNet's for LPIPS, from the first source that has them.

    python -m diffusevae.stages download mnist --out data/raw/mnist

The key is one of diffusevae.sources.pinned.ASSETS. No section of params.yaml is read: the files are
pinned by their hashes in diffusevae.sources.pinned.
"""

from pathlib import Path
from types import SimpleNamespace

from diffusevae.core.stage_log import StageLog
from diffusevae.sources.assets import fetch

ROOT = None
SECTIONS: dict[str, type] = {}


def run(params: SimpleNamespace, *, out: Path, log: StageLog) -> None:
    """Write the files named in diffusevae.sources.pinned to the folder `out`."""
    fetch(params.key, out, say=log.message)
