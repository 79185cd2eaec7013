"""dvc.lock after a rerun: kept on a branch of its own, and read for what has changed.

A rerun on a worker must neither lose the hashes of what it made nor touch anyone's branch. So they
are committed to reruns/<experiment>, on top of the code they were made with.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from diffusevae.core.errors import EnvironmentFailure

LOCK = Path("dvc.lock")
FETCHED = "refs/diffusevae/fetched"  # where a fetched branch stands for a moment
TRIES = 5  # to push while other workers push too
AUTHOR = {"NAME": "DiffuseVAE pipeline", "EMAIL": "pipeline@localhost"}


def commit_lock(experiment: str, message: str) -> str | None:
    """Commit dvc.lock to the branch reruns/<experiment>; return the commit, None if it is there.

    The commit has the files of HEAD, with this dvc.lock. The working tree, its index and the
    branch that is checked out stay as they are. Where there is a remote `origin`, its branch is
    fetched first and the commit put on top of what other workers have pushed; what could not be
    pushed earlier goes along. Raises OSError or subprocess.SubprocessError where git fails.
    """
    branch = f"refs/heads/reruns/{experiment}"
    tree = _write_tree()
    if "origin" not in _git("remote").split():
        return _add_commit(branch, tree, _find_tips(branch), message)
    made = None
    for attempt in range(TRIES):
        theirs = _fetch(branch)
        made = _add_commit(branch, tree, _find_tips(branch, theirs), message) or made
        if _find_tips(branch) == [theirs]:
            return made
        try:
            _git("push", "--quiet", "origin", f"{branch}:{branch}")
            return made
        except subprocess.CalledProcessError:  # another worker was faster, or origin is away
            if attempt == TRIES - 1:
                raise
    return made


def _write_tree() -> str:
    """Return the tree of HEAD's files with this dvc.lock."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git("read-tree", "HEAD", variables=index)
        blob = _git("hash-object", "-w", str(LOCK))
        _git("update-index", "--add", "--cacheinfo", f"100644,{blob},{LOCK}", variables=index)
        return _git("write-tree", variables=index)


def _fetch(branch: str) -> str | None:
    """Return the commit at which the branch stands at origin, with all that it needs; or None."""
    if not _git("ls-remote", "origin", branch):
        return None
    _git("fetch", "--quiet", "--no-write-fetch-head", "origin", f"+{branch}:{FETCHED}")
    theirs = _git("rev-parse", FETCHED)
    _git("update-ref", "-d", FETCHED)
    return theirs


def _find_tips(branch: str, theirs: str | None = None) -> list[str]:
    """Return the branch's newest commits, here and at origin: two where neither has the other."""
    ours = _git("rev-parse", "--verify", "--quiet", branch, check=False)
    tips = list(dict.fromkeys(filter(None, (ours, theirs))))
    if len(tips) == 2:
        base = _git("merge-base", *tips, check=False)
        tips = [tip for tip in tips if tip != base]
    return tips


def _add_commit(branch: str, tree: str, tips: list[str], message: str) -> str | None:
    """Put the tree on top of the tips, and of HEAD; return the commit, None where it is there."""
    if len(tips) == 1 and tree == _git("rev-parse", f"{tips[0]}^{{tree}}"):
        _git("update-ref", branch, tips[0])
        return None
    head = _git("rev-parse", "HEAD")
    if not tips and tree == _git("rev-parse", f"{head}^{{tree}}"):
        return None
    # The code may have moved on since the last rerun: then that is a parent too.
    parents = list(tips)
    if not any(_git("merge-base", head, tip, check=False) == head for tip in tips):
        parents.append(head)
    options = [option for parent in parents for option in ("-p", parent)]
    author = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in AUTHOR.items()
    }
    commit = _git("commit-tree", tree, *options, "-m", message, variables=author)
    _git("update-ref", branch, commit)
    return commit


@dataclass(frozen=True)
class Changes:
    """What differs between two locks: files of data and of code, params as "key: old -> new"."""

    data: tuple[str, ...]
    code: tuple[str, ...]
    params: tuple[str, ...]

    @property
    def anything(self) -> bool:
        """Whether anything differs."""
        return bool(self.data or self.code or self.params)


def find_changes(old: Mapping, new: Mapping, targets: Iterable[str]) -> Changes:
    """Compare what the targets were made from, in the contents of two dvc.lock files.

    Data are what no stage made: downloads, and folders of the user's own.
    """
    targets = list(targets)
    before, after = (_inputs(lock, targets) for lock in (old, new))
    changed = sorted(
        path
        for path in before.files | after.files
        if before.files.get(path) != after.files.get(path)
    )
    params = [
        f"{key}: {_show(before.params.get(key))} -> {_show(after.params.get(key))}"
        for key in sorted(before.params | after.params)
        if before.params.get(key) != after.params.get(key)
    ]
    return Changes(
        tuple(p for p in changed if not p.startswith("src/")),
        tuple(p for p in changed if p.startswith("src/")),
        tuple(params),
    )


@dataclass(frozen=True)
class _Inputs:
    files: dict[str, str]
    params: dict[str, object]


def _inputs(lock: Mapping, targets: list[str]) -> _Inputs:
    """Return the hash of every file that is not made on the way, and every param by its key."""
    stages = [lock.get("stages", {}).get(target, {}) for target in targets]
    files = {dep["path"]: dep["md5"] for stage in stages for dep in stage.get("deps", [])}
    made = [
        out
        for stage, target in zip(stages, targets, strict=True)
        for out in stage.get("outs", [])
        if not target.startswith("download@")
    ]
    inner = tuple(out["path"] for out in made)
    files = {
        path: md5
        for path, md5 in files.items()
        if not any(path == each or path.startswith(f"{each}/") for each in inner)
        and not path.startswith("artifacts/")
    }
    params: dict[str, object] = {}
    for stage in stages:
        for section in stage.get("params", {}).values():
            for key, value in section.items():
                _flatten(key, value, params)
    return _Inputs(files, params)


def _flatten(key: str, value: object, into: dict[str, object]) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _flatten(f"{key}.{name}", inner, into)
    else:
        into[key] = value


def _show(value: object) -> str:
    return "nothing" if value is None else str(value)


def read_lock(path: Path = LOCK) -> dict:
    """Return the content of dvc.lock, or of another such file; an empty one where there is none.

    Raises EnvironmentFailure for a damaged one.
    """
    try:
        return YAML(typ="safe").load(path) if path.is_file() else {}
    except (YAMLError, ValueError) as error:
        raise EnvironmentFailure(
            f"{LOCK}: is damaged (`git diff {LOCK}` shows where); mend it, or "
            f"take the last one: `git checkout HEAD {LOCK}`"
        ) from error


def _git(*arguments: str, variables: Mapping[str, str] | None = None, check: bool = True) -> str:
    done = subprocess.run(
        ["git", *arguments],
        capture_output=True,
        text=True,
        check=check,
        timeout=60,
        env=os.environ | dict(variables or {}),
    )
    return done.stdout.strip()
