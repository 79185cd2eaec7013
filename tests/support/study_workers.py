"""Workers of one study, each a process.

    python -m tests.support.study_workers FOLDER WORKERS TRIALS SECONDS GRACE

Each writes FOLDER/<pid>.csv, the study's trials as it got them, and a line in FOLDER/<pid>.ran for
every trial that it began. A trial takes SECONDS; after GRACE seconds without a sign of life its
worker is given up.
"""

import os
import sys
import time
from pathlib import Path

import optuna

from diffusevae.tuning import study_storage
from diffusevae.tuning.search import search
from tests.support.toy_search import BASE, make_config


def work(folder: Path, n_trials: int, seconds: float) -> None:
    """Take part in the study until it is done."""

    def objective(values, slot, report) -> None:
        with open(folder / f"{os.getpid()}.ran", "a") as file:
            print(slot, file=file)
        time.sleep(seconds)
        rate = values["optimiser"]["learning_rate"]
        report(1, {"study": rate, "fair": -rate, "floor": 0.1})

    result = search(
        make_config(n_trials), "shared", 0, BASE, objective, lambda text: print(text, flush=True)
    )
    result.trials.to_csv(folder / f"{os.getpid()}.csv")


if __name__ == "__main__":
    optuna.importance.FanovaImportanceEvaluator()  # imported once for all, before they part
    folder, workers, trials, seconds, grace = sys.argv[1:]
    study_storage.HEARTBEAT_SECONDS, study_storage.GRACE_SECONDS = 1, int(grace)
    children = []
    for _ in range(int(workers)):
        if (child := os.fork()) == 0:
            work(Path(folder), int(trials), float(seconds))
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children))
