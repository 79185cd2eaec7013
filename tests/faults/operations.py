"""What may be killed at any point: the smallest of each kind of work that leaves something.

    python -m tests.faults.operations register    (in a folder that `prepare` has filled)

`OPERATIONS` says for each how its folder is made, what is run there, and what must be there after
a run that followed a killed one: the same facts as after an unbroken one.
"""

import contextlib
import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks.registry.model_folder import OWN_HASHES
from tests.support.checkouts import copy_checkout
from tests.support.toy_splits import write_stage_folder

STORE = Path("mlflow/mlflow.db")
TARGET = "prepare@mnist_tiny"
Facts = dict[str, object]


@dataclass(frozen=True)
class Operation:
    """How a folder is prepared for it, what is run there, and what that must leave."""

    prepare: Callable[[Path], None]
    arguments: tuple[str, ...]
    read_facts: Callable[[Path], Facts]


def prepare_stage(folder: Path) -> None:
    """Give a stage small splits, three trials and three epochs."""
    folder.mkdir()
    write_stage_folder(folder)
    make_store(folder)


def prepare_toy(folder: Path) -> None:
    """Write the outputs of an experiment of untrained models."""
    from tests.support.toy_registry import write_toy

    folder.mkdir()
    with contextlib.chdir(folder):
        write_toy(folder)
    make_store(folder)


def prepare_checkout(folder: Path) -> None:
    """Copy this checkout, with the raw data that the target needs, and commit it."""
    copy_checkout(folder)
    identity = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    subprocess.run(["git", "-C", folder, "add", "--all"], check=True)
    subprocess.run(["git", "-C", folder, *identity, "commit", "-qm", "all"], check=True)
    with contextlib.chdir(folder):
        from tasks.dvc.process import reproduce

        reproduce("download@mnist", print, {})


def make_store(folder: Path) -> None:
    """Make MLflow's tables, which takes seconds."""
    from mlflow import MlflowClient

    (folder / STORE.parent).mkdir(mode=0o700)
    MlflowClient(f"sqlite:///{folder / STORE}").search_experiments()


def read_stage(folder: Path) -> Facts:
    """Return the bytes of the outputs, and what is left to close or to send."""
    return hash_files(folder / "out") | read_runs(folder) | read_leftovers(folder)


def read_versions(folder: Path) -> Facts:
    """Return the versions in the registry with what they hold, and runs left open."""
    with contextlib.closing(sqlite3.connect(folder / STORE)) as store:
        versions = store.execute("select name, version, status from model_versions").fetchall()
        tags = store.execute(
            "select key, value from model_version_tags where key like '%sha256' order by key"
        ).fetchall()
    hashes = dict(tags)
    # MLflow's own file has a time and a number of its own in every version.
    files = {n: h for n, h in json.loads(hashes.pop(OWN_HASHES)).items() if n != "MLmodel"}
    return {"versions": versions, "files": files} | hashes | read_runs(folder)


def read_lock(folder: Path) -> Facts:
    """Return the lock, the outputs and the files of the commit on the branch of reruns."""
    tree = subprocess.run(
        ["git", "-C", folder, "rev-parse", "reruns/smoke^{tree}"], capture_output=True, text=True
    )
    return {"tree": tree.stdout, "lock": hash_file(folder / "dvc.lock")} | hash_files(
        folder / "data/prepared/mnist_tiny"
    )


def read_runs(folder: Path) -> Facts:
    """Return how many runs MLflow takes for still at work."""
    with contextlib.closing(sqlite3.connect(folder / STORE)) as store:
        [[count]] = store.execute("select count(*) from runs where status = 'RUNNING'")
    return {"running": count}


def read_leftovers(folder: Path) -> Facts:
    """Return what lies where half-done work lies."""
    kept = [folder / "scratch/progress", folder / "scratch/unsent"]
    return {
        "leftovers": sorted(
            str(path.relative_to(folder))
            for place in kept
            for path in place.rglob("*")
            if path.is_file()
        )
    }


def hash_files(folder: Path) -> Facts:
    """Return the SHA-256 of every file below a folder, by name."""
    return {
        str(path.relative_to(folder)): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def register() -> None:
    """Register the toy as the flow does."""
    from diffusevae.tracking.sender import send_unsent
    from tasks.parent_run import close_abandoned
    from tests.support.toy_registry import register_toy

    send_unsent()
    close_abandoned("toy")
    register_toy()


def reproduce_and_commit() -> None:
    """Bring the target up to date, and commit the lock, as the flow does."""
    from tasks.dvc.checkout_lock import own_checkout
    from tasks.dvc.lock import commit_lock, read_lock
    from tasks.dvc.outputs import discard, find_damaged
    from tasks.dvc.process import changed_stages, reproduce

    with own_checkout():
        lock = read_lock()
        if TARGET not in changed_stages(TARGET):
            for damaged in find_damaged(lock, [TARGET]):
                discard(lock, damaged)
        reproduce(TARGET, print, {})
        commit_lock("smoke", "rerun")


def _stage(name: str, *inputs: str) -> tuple[str, ...]:
    options = [word for path in inputs for word in (f"--{path.partition('.')[0]}", path)]
    return ("diffusevae.stages", name, "smoke", *options, "--out", "out")


OPERATIONS = {
    "train": Operation(
        prepare_stage, _stage("train_vae", "train", "validation", "best.yaml"), read_stage
    ),
    "search": Operation(prepare_stage, _stage("tune_vae", "train", "validation"), read_stage),
    "register": Operation(prepare_toy, ("tests.faults.operations", "register"), read_versions),
    "reproduce": Operation(
        prepare_checkout, ("tests.faults.operations", "reproduce_and_commit"), read_lock
    ),
}


if __name__ == "__main__":
    {"register": register, "reproduce_and_commit": reproduce_and_commit}[sys.argv[1]]()
