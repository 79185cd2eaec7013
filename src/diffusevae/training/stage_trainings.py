"""The trainings of a stage: each says how far it is, and goes on where a killed one was."""

import csv
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch

from diffusevae.core.stage_log import StageLog
from diffusevae.core.tensor_file import sha256_of
from diffusevae.training.checkpointer import FOLDER, Checkpointer
from diffusevae.training.loop import Callbacks, History, Model
from diffusevae.training.resume_key import make_resume_key


@dataclass(frozen=True, eq=False)
class Training:
    """One training: the logger of its stage or of its own trial, and its checkpoints."""

    log: StageLog
    checkpointer: Checkpointer

    def callbacks(
        self,
        snapshot_epochs: Container[int] = (),
        save: Callable[[Path, Model], object] = lambda path, model: None,
    ) -> Callbacks[Model]:
        """Return what tells the logger. After each epoch of snapshot_epochs `save` gets a path."""

        def on_epoch(epoch: int, row: dict[str, float], model: Model) -> None:
            self.log.epoch(row)
            if epoch in snapshot_epochs:
                kept = self.checkpointer.kept
                save(kept / f"snapshots/epoch_{epoch:04d}.safetensors", model)

        return Callbacks(on_epoch, self.log.batch, self.log.resume)

    def finish(self, out: Path, history: History) -> None:
        """Write snapshots and history.csv beside the model in `out`, and forget the checkpoints."""
        self.checkpointer.copy_kept(out)
        write_history(out / "history.csv", history)
        self.checkpointer.clear()
        self.log.artifact(out)
        self.log.tag("model_sha256", sha256_of(out / "model.safetensors"))


def write_history(path: Path, history: History) -> None:
    """Write a row for each epoch, as pandas would, which takes long to import."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


# Opens one of several trainings by its name and the facts that tell it from the others.
OpenTraining = Callable[[str, Mapping[str, object]], AbstractContextManager[Training]]


def open_training(
    stage: str, params: SimpleNamespace, data: Sequence[Path], device: torch.device, log: StageLog
) -> Training:
    """Return the only training of a stage, which depends on its params and data files."""
    key = make_resume_key(stage, params, data, device)
    return Training(log, Checkpointer(FOLDER / f"{stage}-{key}", log.message))


@contextmanager
def open_trainings(
    stage: str, params: SimpleNamespace, data: Sequence[Path], device: torch.device, log: StageLog
) -> Iterator[OpenTraining]:
    """Yield what opens each training of a stage that has several: in a trial of the stage's run.

    Checkpoints go when the block has ended, with all outputs written: a stage that is killed before
    goes on with its last training, and takes the earlier ones as they ended.
    """
    key = make_resume_key(stage, params, data, device)
    opened: list[Checkpointer] = []

    @contextmanager
    def open_one(name: str, facts: Mapping[str, object]) -> Iterator[Training]:
        opened.append(Checkpointer(FOLDER / f"{stage}-{name}-{key}", log.message))
        with log.trial(name, facts) as trial:
            yield Training(trial, opened[-1])

    yield open_one
    for checkpointer in opened:
        checkpointer.clear()
