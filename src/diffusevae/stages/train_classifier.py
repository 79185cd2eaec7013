"""Train the data set's own classifier, whose features measure generated images.

python -m diffusevae.stages train_classifier mnist_tiny \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --out data/train_classifier/mnist_tiny
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split
from diffusevae.models.classifier import ClassifierConfig, save_classifier
from diffusevae.training.classifier_training import fit_classifier
from diffusevae.training.loop import OptimiserConfig
from diffusevae.training.stage_trainings import open_training

ROOT = "datasets"
SECTIONS = {"seed": int, "classifier": ClassifierConfig, "classifier_optimiser": OptimiserConfig}


def run(params, *, train: Path, validation: Path, out: Path, log: StageLog) -> None:
    """Write model.safetensors and history.csv to `out`."""
    device = choose_device()
    log.dataset(train, "training")
    training = open_training("train_classifier", params, [train, validation], device, log)
    splits = [load_split(path) for path in (train, validation)]
    known, held_out = ((split.images.to(device), split.labels.to(device)) for split in splits)
    model, history = fit_classifier(
        params.classifier,
        params.classifier_optimiser,
        known,
        held_out,
        params.seed,
        training.callbacks(),
        training.checkpointer,
        splits[0].flips,
    )
    save_classifier(out / "model.safetensors", model)
    training.finish(out, history)
