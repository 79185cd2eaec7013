"""What a registered version was made from, put into a folder: its commit, its run's dvc.lock."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.tracking.mlflow_store import connect
from tasks.dvc.lock import LOCK, read_lock
from tasks.parent_run import mlflow_failures
from tasks.registry.registration import MODEL_PREFIX, RECORDED


@dataclass(frozen=True)
class Origin:
    """Of which experiment a version is, the commit of its code and params, the run that has its
    dvc.lock.
    """

    experiment: str
    commit: str
    run: str


def find_origin(model: str) -> Origin:
    """Return what a version, MODEL/VERSION, was made from.

    Raises InputError where there is none such, or its run kept too little; EnvironmentFailure.
    """
    from mlflow.exceptions import MlflowException

    name, _, number = model.partition("/")
    if not name.startswith(MODEL_PREFIX):
        raise InputError(f"{model}: no model of an experiment; write {MODEL_PREFIX}EXPERIMENT/1")
    with mlflow_failures():
        client = connect()
        try:
            found = client.get_model_version(name, number)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise _unknown(model) from error
    tags = found.tags
    if str(found.version) != number or "parent_run" not in tags:  # 01; a chain of champions
        raise _unknown(model)
    commit, dirty, _ = tags.get("git_commit", "").partition("-dirty")
    if dirty or not commit:
        made = (
            f"from commit {commit[:12]} and changes to it, which are kept nowhere"
            if commit
            else "of code that no commit holds"
        )
        raise InputError(
            f"{model}: was made {made}; commit, then run "
            f"{name.removeprefix(MODEL_PREFIX)} for a version that can be made again"
        )
    run = tags.get(RECORDED) or tags["parent_run"]
    with mlflow_failures():
        if LOCK.name not in (file.path for file in client.list_artifacts(run)):
            raise InputError(
                f"{model}: its run {run} has no {LOCK}, for it did not come to its end"
            )
    return Origin(name.removeprefix(MODEL_PREFIX), commit, run)


def check_out(origin: Origin, folder: Path) -> Mapping:
    """Put the commit into a folder, which is made anew, with the version's dvc.lock; return what
    that says.

    Raises InputError where this repository does not have the commit; EnvironmentFailure.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if _git("cat-file", "-e", f"{origin.commit}^{{commit}}"):
        raise InputError(
            f"commit {origin.commit}: is not in this repository; `git fetch --all` from the one "
            "in which the version was made"
        )
    # The copy has all objects of this one, also those of no branch.
    failed = _git("clone", "--quiet", "--shared", "--no-checkout", ".", str(folder)) or _git(
        "-C", str(folder), "checkout", "--quiet", "--detach", origin.commit
    )
    if failed:
        raise EnvironmentFailure(f"{folder}: git cannot check out {origin.commit[:12]}: {failed}")
    with mlflow_failures():
        connect().download_artifacts(origin.run, LOCK.name, str(folder))
    return read_lock(folder / LOCK)


def _unknown(model: str) -> InputError:
    return InputError(
        f"{model}: the registry has no such version; `diffusevae mlflow` shows which it has"
    )


def _git(*arguments: str) -> str:
    """Return what git says of its failure; nothing where it does what it should."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, errors="replace")
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason"])[0]
