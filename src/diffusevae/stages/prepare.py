"""Resize a downloaded data set, or a folder of images, and split it into train, validation, test.

python -m diffusevae.stages prepare mnist --raw data/raw/mnist --out data/prepared/mnist
"""

from pathlib import Path
from types import SimpleNamespace

from diffusevae.core.params import leave_out_defaults
from diffusevae.core.stage_log import StageLog
from diffusevae.core.tensor_file import save_tensors
from diffusevae.data.dataset import DatasetConfig
from diffusevae.data.preparation import prepare

ROOT = "datasets"
SECTIONS = {"images": DatasetConfig}


def run(params: SimpleNamespace, *, raw: Path, out: Path, log: StageLog) -> None:
    """Write train, validation and test.safetensors (tensors of data.Split) to the folder `out`."""
    for name, tensors in prepare(params.images, raw, say=log.message).items():
        save_tensors(out / f"{name}.safetensors", tensors, leave_out_defaults(params.images))
