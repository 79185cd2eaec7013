"""How far a training has come, kept where a killed run finds it again.

DVC empties a stage's outputs before it runs the stage, so this lies in scratch/progress, in a
folder named by all that the training depends on (diffusevae.training.resume_key).
"""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.tensor_file import load_config, load_tensors, save_tensors, sha256_of

FOLDER = Path("scratch/progress")
SECONDS_BETWEEN = 60  # checkpoints within an epoch; what a kill can cost
KEPT = 2  # checkpoints: where the last is damaged, the one before it serves


class Checkpointer:
    """Checkpoints of one training, and the files it finished on the way (`folder`/kept)."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say
        self._last = time.monotonic()

    @property
    def kept(self) -> Path:
        """Files that become outputs when the training is done, such as snapshots."""
        return self.folder / "kept"

    @property
    def is_due(self) -> bool:
        """Whether the last checkpoint is long enough ago for another within the epoch."""
        return time.monotonic() - self._last >= SECONDS_BETWEEN

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
        """Write a checkpoint under a name that holds its hash, and drop the oldest ones."""
        unnamed = self.folder / "new.safetensors"
        save_tensors(unnamed, dict(tensors), facts)
        unnamed.replace(self.folder / f"{step:010d}-{sha256_of(unnamed)}.safetensors")
        for old in self._newest_first()[KEPT:]:
            old.unlink()
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Tensor], dict] | None:
        """Return the tensors and facts of the newest checkpoint whose hash is right, or None."""
        for path in self._newest_first():
            try:
                if sha256_of(path) == path.stem.partition("-")[2]:
                    return load_tensors(path), load_config(path)
            except InputError:
                pass
            self._say(f"{path}: damaged, so not used")
        return None

    def copy_kept(self, out: Path) -> None:
        """Copy the finished files to the stage's output."""
        if self.kept.is_dir():
            shutil.copytree(self.kept, out, dirs_exist_ok=True)

    def clear(self) -> None:
        """Forget this training and what others of the same stage and key left: it is done.

        Those were of other params, data, code or devices; their folders' names differ in the hash.
        """
        stage_and_key = self.folder.name.rpartition("-")[0]
        for folder in self.folder.parent.glob(f"{stage_and_key}-*"):
            if folder.name.rpartition("-")[0] == stage_and_key:
                shutil.rmtree(folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("*-*.safetensors"), reverse=True)
