"""Train the data set's own classifier, whose features measure generated images.

python -m diffusevae.stages train_classifier mnist_tiny \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --out data/train_classifier/mnist_tiny
"""

from pathlib import Path

import pandas as pd

from diffusevae.core.device import choose_device
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import load_split
from diffusevae.models.classifier import ClassifierConfig, save_classifier
from diffusevae.training.checkpointer import Checkpointer
from diffusevae.training.classifier_training import fit_classifier
from diffusevae.training.loop import Callbacks, OptimiserConfig

ROOT = "datasets"
SECTIONS = {"seed": int, "classifier": ClassifierConfig, "classifier_optimiser": OptimiserConfig}


def run(params, *, train: Path, validation: Path, out: Path, log) -> None:
    """Write model.safetensors and history.csv to `out`."""
    device = choose_device()
    log.dataset(train, "training")
    checkpointer = Checkpointer.of("train_classifier", params, [train, validation], log.message)
    known, held_out = (
        (split.images.to(device), split.labels.to(device))
        for split in map(load_split, (train, validation))
    )
    model, history = fit_classifier(
        params.classifier,
        params.classifier_optimiser,
        known,
        held_out,
        params.seed,
        Callbacks(lambda epoch, row, _: log.epoch(row), log.batch, log.resume),
        checkpointer,
    )
    save_classifier(out / "model.safetensors", model)
    pd.DataFrame(history).to_csv(out / "history.csv", index=False)
    checkpointer.clear()
    log.artifact(out)
    log.tag("model_sha256", sha256_of(out / "model.safetensors"))
