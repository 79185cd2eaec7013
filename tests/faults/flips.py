"""Flipped bits in what a finished run of smoke left, and whether the product names each.

    python -m tests.faults.flips --flips 10000 [--checkout FOLDER]

One bit of one file at a time, in a copy of the checkout: by turns of the outputs, DVC's cache,
fetched files, the registered model with what MLflow wrote for it, and a checkpoint. The check is
the one that the product makes before it uses the file. A last line tells what the checks of all
outputs take, once in a run.
"""

import argparse
import contextlib
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diffusevae.experiments.experiment import load_experiment
from diffusevae.registered.model_files import HASHES
from diffusevae.sources.pinned import ASSETS
from diffusevae.training.checkpointer import Checkpointer
from tasks.dvc.lock import read_lock
from tasks.dvc.outputs import OBJECTS, find_damaged, find_wrong_objects, list_objects
from tasks.registry.model_folder import find_damage_of_version, is_kept
from tests.support.checkouts import ROOT

EXPERIMENT = "smoke"
COPIED = ("data", "artifacts", ".dvc", "dvc.lock", "mlflow/artifacts", "mlflow/mlflow.db")
CHECKPOINTS = Path("scratch/progress/toy")


@dataclass(frozen=True)
class Kept:
    """A file of the checkout, what kind it is, and the product's check: what it names, or None."""

    path: Path
    kind: str
    check: Callable[[], str | None]


def copy_results(checkout: Path, folder: Path) -> None:
    """Copy what a finished run left."""
    for name in (*COPIED, "scratch/downloads"):
        if (checkout / name).is_dir():
            shutil.copytree(checkout / name, folder / name, symlinks=True)
        elif (checkout / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, folder / name)


def read_tags(model_id: str) -> dict[str, str]:
    """Return the tags of the version that holds a model."""
    query = "select key, value from model_version_tags natural join model_versions where source = ?"
    with contextlib.closing(sqlite3.connect("mlflow/mlflow.db")) as store:
        return dict(store.execute(query, [f"models:/{model_id}"]))


def list_kept() -> Iterator[Kept]:
    """Yield every file that the product holds against a hash, in the working folder."""
    lock = read_lock()
    for target in load_experiment(EXPERIMENT, ROOT / "params.yaml").targets:
        yield from _list_outputs(lock, target, lock["stages"][target])
    for name, asset in ASSETS.items():
        for file in asset.files:
            path = Path("scratch/downloads", name, file.name)
            if path.exists():
                yield Kept(path, "download", lambda p=path, a=asset, f=file: _check_file(p, a, f))
    for hashes in Path("mlflow/artifacts").rglob(HASHES.name):
        model, tags = hashes.parents[1], read_tags(hashes.parents[2].name)
        check = partial(find_damage_of_version, model, tags)
        for path in model.rglob("*"):
            if path.is_file() and is_kept(path.relative_to(model)):
                yield Kept(path, "model", check)
    newest = max(CHECKPOINTS.glob("*.safetensors"))  # which a training goes on from
    yield Kept(newest, "checkpoint", _check_checkpoints)


def _list_outputs(lock: dict, target: str, stage: dict) -> Iterator[Kept]:
    def check_output() -> str | None:
        return next(iter(find_damaged(lock, [target])), None)

    def check_object() -> str | None:
        return next(find_wrong_objects(lock, target, Path(".dvc/cache") / OBJECTS), None)

    for out in stage["outs"]:
        path = Path(out["path"])
        if not path.exists():
            continue
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                yield Kept(file, "output", check_output)
        objects = Path(".dvc/cache") / OBJECTS
        for name in list_objects(objects, out["md5"]):
            yield Kept(objects / name[:2] / name[2:], "cache", check_object)


def _check_file(path: Path, asset, file) -> str | None:
    return None if asset.hash_content(path.read_bytes()) == file.content_hash else str(path)


def _check_checkpoints() -> str | None:
    """Return the newest checkpoint where it is damaged; the one before it is loaded."""
    said: list[str] = []
    assert Checkpointer(CHECKPOINTS, said.append).load() is not None
    return said[0] if said else None


def write_checkpoints() -> None:
    """Write two checkpoints of a small training."""
    import diffusevae.training.checkpointer
    from diffusevae.training.loop import Callbacks
    from tests.support.resumable import train

    def stop(epoch: int, done: int, total: int, epochs: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    diffusevae.training.checkpointer.SECONDS_BETWEEN = 0
    with contextlib.suppress(KeyboardInterrupt):
        train(Checkpointer(CHECKPOINTS, print), Path("cut"), Callbacks(on_batch=stop))


@contextlib.contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """Flip one bit of a file for the time of the block; neither its size, mode nor time tells."""
    stat = path.stat()
    path.chmod(0o600)

    def flip() -> None:
        with open(path, "r+b") as file:
            file.seek(bit // 8)
            [value] = file.read(1)
            file.seek(bit // 8)
            file.write(bytes([value ^ 1 << bit % 8]))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    flip()
    try:
        yield
    finally:
        flip()
        path.chmod(stat.st_mode & 0o777)


def try_flips(count: int, seed: int) -> tuple[Counter, list[str]]:
    """Flip bits one by one; return how many were found by kind, and where one was not."""
    chance, found, missed = random.Random(seed), Counter(), []
    kept = [each for each in list_kept() if each.path.stat().st_size]
    for each in {each.check: each for each in kept}.values():
        assert each.check() is None, f"{each.path}: is damaged before any flip"
    kinds = sorted({each.kind for each in kept})
    for number in range(count):
        kind = kinds[number % len(kinds)]
        each = chance.choice([each for each in kept if each.kind == kind])
        bit = chance.randrange(8 * each.path.stat().st_size)
        with flipped(each.path, bit):
            if each.check():
                found[each.kind] += 1
            else:
                missed.append(f"{each.path} bit {bit}")
    return found, missed


def time_checks() -> float:
    """Return the CPU seconds that the checks of all outputs take, as a run makes them once."""
    lock = read_lock()
    start = time.process_time()
    find_damaged(lock, load_experiment(EXPERIMENT, ROOT / "params.yaml").targets)
    return time.process_time() - start


def main() -> int:
    """Print how many flips were found, by kind, and each that was not; return 1 where one was."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.flips")
    parser.add_argument("--flips", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkout", type=Path, default=ROOT, help="in which smoke was run")
    options = parser.parse_args()
    if not (options.checkout / "artifacts" / EXPERIMENT).is_dir():
        print(f"error: {options.checkout}: run `make run EXPERIMENT={EXPERIMENT}` there first")
        return 2
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        copy_results(options.checkout.absolute(), Path(folder))
        write_checkpoints()
        found, missed = try_flips(options.flips, options.seed)
        for line in missed:
            print(f"not found: {line}")
        print(", ".join(f"{number} {kind}" for kind, number in sorted(found.items())))
        print(f"{found.total()} of {options.flips} flips were found")
        print(f"all outputs of {EXPERIMENT} are checked in {time_checks():.2f} s of one core")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
