"""The page of four toy studies."""

from pathlib import Path
from types import SimpleNamespace

from diffusevae.stages import overview as stage
from diffusevae.tracking.stage_logger import StageLogger
from tests.support.toy_latents import make_chapter, write_study

PARAMS = {"dataset": "mnist_16k", "other_dataset": "fashion_mnist_16k", "experiment": "quickstart"}
STUDIES = ("beta_vae", "sprites", "spectra", "autoencoders")


def write_overview(folder: Path, out: str = "overview") -> Path:
    """Write the page of four toy studies, which are made where there are none; return its path."""
    folders = {name: folder / name for name in STUDIES}
    for name, path in folders.items():
        if not path.is_dir():
            write_study(path, make_chapter(title=f"About {name}"))
    params = SimpleNamespace(key="latents", **PARAMS)
    stage.run(params, **folders, out=folder / out, log=StageLogger())
    return folder / out / "overview.html"
