"""Compare the VAE with PCA at codes of equal size. Not part of the flow: run it when wanted.

python -m diffusevae.stages compress smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --test data/prepared/mnist_tiny/test.safetensors \\
    --out artifacts/smoke/compress
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split
from diffusevae.models.vae import VAEConfig
from diffusevae.studies.compression.compression_results import Compression
from diffusevae.studies.compression.compression_study import CompressConfig
from diffusevae.training.loop import OptimiserConfig
from diffusevae.training.stage_trainings import open_trainings

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "vae": VAEConfig,
    "vae_optimiser": OptimiserConfig,
    "compress": CompressConfig,
}


def run(params, *, train: Path, validation: Path, test: Path, out: Path, log: StageLog) -> None:
    """Write runs.csv, table.csv, metrics.json, table.png and images.png to `out`."""
    device = choose_device()
    log.dataset(train, "training")
    known, held_out, unseen = (load_split(path) for path in (train, validation, test))
    compression = Compression(params, known, held_out, unseen, device)
    with open_trainings("compress", params, [train, validation], device, log) as open_one:
        compression.compare_all(open_one, log)
        compression.save(out)
    log.artifact(out)
