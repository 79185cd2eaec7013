"""A result made again in a clean folder, and the first thing in it that is another.

What dvc.lock says of a stage is its command, the hashes of what it read and of what it wrote. The
commands run one after another in an empty folder, which has params.yaml and finds the downloads;
what each wrote is held against its hash before the next one begins.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from packaging.requirements import Requirement

from diffusevae.core.errors import Failure, InputError
from diffusevae.core.tensor_file import load_tensors
from diffusevae.experiments.experiment import RAW, Experiment, LatentStudy
from diffusevae.experiments.params_file import PARAMS_FILE
from tasks.dvc.lock import LOCK
from tasks.dvc.outputs import find_damaged, hash_output
from tasks.dvc.process import changed_stages
from tasks.probe.trial_checkout import make_folder, run_command
from tasks.registry.model_folder import CONSTRAINTS

SHOWN = 60  # characters of a line that differs
TEXTS = {".csv", ".json", ".yaml", ".html", ".txt", ".md"}


class NotReproduced(Failure):
    """A stage made something else than dvc.lock says. Exit code 1."""

    exit_code = 1


def require_results(experiment: Experiment | LatentStudy, lock: Mapping) -> None:
    """Raise InputError unless all that dvc.lock says of an experiment is here, and of this code."""
    targets = experiment.targets
    name = experiment.name
    if missing := [target for target in targets if target not in lock.get("stages", {})]:
        raise InputError(f"{name}: {LOCK} has no result of {missing[0]}; run {name} first")
    if changed := sorted(changed_stages(*targets)):
        raise InputError(
            f"{name}: data, code or params of {changed[0]} are not those of {LOCK}, or its outputs "
            "are not here; take those of its commit (git log dvc.lock) and the outputs (dvc "
            f"checkout), or run {name} first"
        )
    if damaged := find_damaged(lock, targets):
        raise InputError(
            f"{damaged[0]}: its output here is not what {LOCK} says; run {name} first, which "
            "makes it again"
        )


def make_again(
    targets: Iterable[str], lock: Mapping, folder: Path, say: Callable[[str], None]
) -> None:
    """Run the commands of all targets in an empty folder; compare each one's outputs with the lock.

    Raises NotReproduced for the first that differs, with the file and where in it; InputError,
    EnvironmentFailure or StageFailure where a stage fails.
    """
    make_folder(folder)
    shutil.copy(PARAMS_FILE, folder)
    run_again(targets, lock, folder, say)


def run_again(
    targets: Iterable[str],
    lock: Mapping,
    folder: Path,
    say: Callable[[str], None],
    own: bool = False,
) -> None:
    """Do so in a folder that has params.yaml, and `own` code where that shall be used.

    Raises as `make_again` does.
    """
    if RAW.is_dir():  # folders of the user's own images, which no stage makes
        made = {out["path"] for target in targets for out in lock["stages"][target]["outs"]}
        (folder / RAW).mkdir(parents=True, exist_ok=True)
        for source in RAW.iterdir():
            if source.is_dir() and str(source) not in made:
                (folder / source).symlink_to(source.absolute())
    for target in targets:
        stage = lock["stages"][target]
        run_command(folder, target, stage["cmd"], say, own)
        for out in stage["outs"]:
            if hash_output(folder / out["path"]) != out["md5"]:
                here = Path(out["path"])
                known = here.exists() and hash_output(here) == out["md5"]
                said = describe_difference(folder, here) if known else f"{here} differs"
                raise NotReproduced(f"{target}: {said}")
        say(f"{target}: the same")


def describe_difference(folder: Path, output: Path) -> str:
    """Return where an output in a folder first differs from the one here, in words."""
    ours = [output] if output.is_file() else sorted(p for p in output.rglob("*") if p.is_file())
    theirs = {
        path.relative_to(folder)
        for path in ([folder / output] if output.is_file() else (folder / output).rglob("*"))
        if path.is_file()
    }
    for path in ours:
        if path not in theirs:
            return f"{path} was not made"
        if (there := folder / path).read_bytes() != path.read_bytes():
            return f"{path} differs: {compare_files(path, there)}"
    return f"{min(theirs - set(ours))} is new"


def compare_files(old: Path, new: Path) -> str:
    """Return where two files that differ do so first: a tensor, a line, or a byte."""
    if old.suffix == ".safetensors":
        return compare_tensors(load_tensors(old), load_tensors(new))
    if old.suffix in TEXTS:
        lines = zip(_lines(old), _lines(new), strict=False)
        for number, (before, after) in enumerate(lines, 1):
            if before != after:
                return f"line {number}: {before.strip()[:SHOWN]!r} -> {after.strip()[:SHOWN]!r}"
        return "one has more lines"
    pairs = zip(old.read_bytes(), new.read_bytes(), strict=False)
    first = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    return "its length" if first is None else f"byte {first}"


def compare_tensors(old: Mapping[str, torch.Tensor], new: Mapping[str, torch.Tensor]) -> str:
    """Return the first tensor that differs, and by how much."""
    if old.keys() != new.keys():
        return f"tensor {min(old.keys() ^ new.keys())} is in one of them only"
    for name in sorted(old):
        if old[name].shape != new[name].shape or old[name].dtype != new[name].dtype:
            return f"tensor {name}: {_describe(old[name])} -> {_describe(new[name])}"
        other = old[name] != new[name]
        if other.any():
            by = (old[name].double() - new[name].double()).abs().max().item()
            return (
                f"tensor {name}: {int(other.sum())} of {other.numel()} numbers, by {by:.3g} at most"
            )
    return "its header"


def list_other_packages(constraints: Path = CONSTRAINTS) -> list[str]:
    """Return "name: ==pinned -> installed" of packages that are not as pinned."""
    others = []
    for line in constraints.read_text().splitlines():
        pin = Requirement(line)
        with suppress(PackageNotFoundError):  # pins are of optional packages, too
            found = version(pin.name)
            if (pin.marker is None or pin.marker.evaluate()) and found not in pin.specifier:
                others.append(f"{pin.name}: {pin.specifier} -> {found}")
    return others


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _describe(tensor: torch.Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
