"""What a stage's work may be told to: the screen, a record of runs, or a test's list."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class StageLog(Protocol):
    """Who is told what a stage does and finds. `diffusevae.tracking.stage_logger` has the real one.

    Nothing told here reaches a stage's outputs.
    """

    def message(self, text: str) -> None:
        """Say one line now."""

    def epoch(self, row: Mapping[str, float]) -> None:
        """Take an epoch's row of the history, with its number as "epoch"."""

    def resume(self, history: Sequence[Mapping[str, float]], epoch: int, batch: int) -> None:
        """Take where a training goes on, and the epochs that an earlier run finished."""

    def batch(self, epoch: int, done: int, total: int, epochs: int) -> None:
        """Take how far an epoch, of so many, is."""

    def progress(self, label: str) -> Callable[[int, int], None]:
        """Return what is told how far a work is: (done, of how many)."""

    def summary(self, values: Mapping[str, float]) -> None:
        """Take final numbers of the stage."""

    def timing(self, name: str, value: float) -> None:
        """Take a measured duration or rate."""

    def artifact(self, path: Path) -> None:
        """Take a file or folder, which stays as it is until the stage ends."""

    def tag(self, name: str, value: str) -> None:
        """Take a tag of the run."""

    def dataset(self, path: Path, context: str) -> None:
        """Take a data set that the stage read, and what for."""

    def trial(
        self,
        number: int | str,
        params: Mapping[str, object],
        pruned: tuple[type[Exception], ...] = (),
        total: int | None = None,
    ) -> AbstractContextManager["StageLog"]:
        """Open one trial or training of several, `total` where they are numbered from 0 to there;
        an exception of `pruned` ends it well.
        """
