"""The folder that the pipeline works in: a git repository, and not in the middle of a merge."""

import configparser
import subprocess
from pathlib import Path

from diffusevae.core.database_file import require_address
from diffusevae.core.errors import EnvironmentFailure, InputError

FILES = (Path("params.yaml"), Path("dvc.yaml"), Path("dvc.lock"))
CONFLICT = b"<<<<<<< "  # how git begins what two sides have changed


def require_checkout() -> None:
    """Raise EnvironmentFailure without a git repository of this user's, which DVC needs unless
    it was told otherwise (`dvc init --no-scm`), or in a folder where no database can be.

    Raises InputError where a merge has left both sides in one of FILES.
    """
    if not FILES[1].is_file():
        raise EnvironmentFailure(
            f"{Path.cwd()}: there is no dvc.yaml; run from the repository's root"
        )
    require_address(Path.cwd())
    if not _is_without_git():
        require_repository()
    for path in FILES:
        require_merged(path)


def _is_without_git() -> bool:
    config = configparser.ConfigParser(strict=False, interpolation=None)
    config.read([".dvc/config", ".dvc/config.local"])
    return config.get("core", "no_scm", fallback="false").strip().lower() == "true"


def require_repository() -> None:
    """Raise EnvironmentFailure without git, or where git takes this folder for no repository."""
    command = ["git", "rev-parse", "--git-dir"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60)
    except OSError as error:
        raise EnvironmentFailure(
            f"git: cannot be started ({error.strerror}); install it, such as "
            "by `apt-get install git`"
        ) from error
    if done.returncode == 0:
        return
    if "dubious ownership" in done.stderr:
        raise EnvironmentFailure(
            f"{Path.cwd()}: belongs to another user, so git does not use it; "
            "if you trust its files, run `git config --global --add "
            f"safe.directory '{Path.cwd()}'`"
        )
    if "not a git repository" in done.stderr:
        raise EnvironmentFailure(
            f"{Path.cwd()}: is no git repository, which DVC needs; run `git init`"
        )
    said = (done.stderr.strip().splitlines() or ["no reason given"])[0]
    raise EnvironmentFailure(f"git: {said}; mend the repository, or clone it anew")


def require_merged(path: Path) -> None:
    """Raise InputError, with the way out, where a merge has left both sides in a file."""
    if not path.is_file():
        return
    lines = path.read_bytes().splitlines()
    number = next((i for i, line in enumerate(lines, 1) if line.startswith(CONFLICT)), None)
    if number is not None:
        # HEAD: git refuses to take an unmerged file from the index.
        raise InputError(
            f"{path} line {number}: a merge has left both sides there; choose one, "
            f"or take yours: `git checkout HEAD {path}`"
        )
