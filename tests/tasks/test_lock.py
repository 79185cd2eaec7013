"""The lock's branch in a real git repository, and what differs between two locks."""

import subprocess
from pathlib import Path

import pytest

from diffusevae.core.errors import EnvironmentFailure
from tasks.dvc import lock as lock_module
from tasks.dvc.lock import commit_lock, find_changes, read_lock


def git(*arguments: str, cwd: Path | None = None) -> str:
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True, cwd=cwd
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A clone of a bare repository, with one commit, a dvc.lock, and work that is not committed."""
    git("init", "-q", "--bare", str(tmp_path / "origin"))
    git("clone", "-q", str(tmp_path / "origin"), str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    for key, value in (("user.name", "t"), ("user.email", "t@localhost")):
        git("config", key, value)
    Path("code.py").write_text("1\n")
    Path("dvc.lock").write_text("old\n")
    git("add", ".")
    git("commit", "-qm", "first")
    Path("dvc.lock").write_text("new\n")
    Path("code.py").write_text("not committed\n")
    return tmp_path


def test_the_lock_is_committed_on_its_branch_and_nothing_else_moves(repository):
    head, status = git("rev-parse", "HEAD"), git("status", "--short")
    commit = commit_lock("smoke", "a rerun")
    assert git("rev-parse", "reruns/smoke") == commit
    assert git("show", "reruns/smoke:dvc.lock") == "new"
    assert git("show", "reruns/smoke:code.py") == "1"
    assert git("rev-parse", "reruns/smoke^") == head == git("rev-parse", "HEAD")
    assert git("status", "--short") == status
    assert git("log", "-1", "--format=%s %an", commit) == "a rerun DiffuseVAE pipeline"
    assert git("rev-parse", "reruns/smoke", cwd=repository / "origin") == commit


def test_the_same_lock_is_committed_once_and_the_next_follows_it(repository):
    first = commit_lock("smoke", "one")
    assert commit_lock("smoke", "two") is None
    Path("dvc.lock").write_text("newer\n")
    second = commit_lock("smoke", "three")
    assert git("rev-list", "--count", "reruns/smoke") == "3"
    assert git("rev-parse", f"{second}^") == first


def test_when_the_code_moved_on_the_branch_has_both_as_parents(repository):
    first = commit_lock("smoke", "one")
    git("commit", "-qm", "more code", "code.py")
    Path("dvc.lock").write_text("newer\n")
    second = commit_lock("smoke", "two")
    assert git("show", f"{second}:code.py") == "not committed"
    assert git("log", "-1", "--format=%P", second).split() == [first, git("rev-parse", "HEAD")]


def clone(repository: Path, name: str, content: str) -> Path:
    """A second worker's checkout, with its own dvc.lock."""
    git("clone", "-q", str(repository / "origin"), str(repository / name))
    path = repository / name
    for key, value in (("user.name", "t"), ("user.email", "t@localhost")):
        git("config", key, value, cwd=path)
    git("fetch", "-q", str(repository / "clone"), "HEAD", cwd=path)
    git("reset", "-q", "--hard", "FETCH_HEAD", cwd=path)
    (path / "dvc.lock").write_text(content)
    return path


def test_a_second_worker_s_results_arrive_on_top_of_the_first_s(repository, monkeypatch):
    first = commit_lock("smoke", "of the first")
    monkeypatch.chdir(clone(repository, "second", "of the second\n"))
    second = commit_lock("smoke", "of the second")
    origin = repository / "origin"
    assert git("rev-parse", "reruns/smoke", cwd=origin) == second
    assert git("rev-parse", f"{second}^", cwd=origin) == first
    monkeypatch.chdir(repository / "clone")
    Path("dvc.lock").write_text("of the first again\n")
    third = commit_lock("smoke", "of the first again")
    assert git("rev-list", "--first-parent", "reruns/smoke", cwd=origin).split()[:3] == [
        third,
        second,
        first,
    ]
    assert git("for-each-ref", "refs/diffusevae") == ""
    # What another has pushed already is no new commit.
    monkeypatch.chdir(repository / "second")
    Path("dvc.lock").write_text("of the first again\n")
    assert commit_lock("smoke", "the same") is None
    assert git("rev-parse", "reruns/smoke") == third


def test_what_could_not_be_pushed_goes_with_the_next_run(repository, monkeypatch):
    origin, away = repository / "origin", repository / "away"
    origin.rename(away)
    with pytest.raises(subprocess.CalledProcessError):
        commit_lock("smoke", "of the first")
    away.rename(origin)
    hook = origin / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError):
        commit_lock("smoke", "of the first")
    kept = git("rev-parse", "reruns/smoke")
    hook.unlink()
    assert commit_lock("smoke", "the same again") is None  # committed before, pushed now
    assert git("rev-parse", "reruns/smoke", cwd=origin) == kept


def test_workers_that_committed_apart_are_joined(repository, monkeypatch):
    git("remote", "rename", "origin", "later")
    first = commit_lock("smoke", "without a remote")
    monkeypatch.chdir(clone(repository, "second", "of the second\n"))
    second = commit_lock("smoke", "of the second")
    monkeypatch.chdir(repository / "clone")
    git("remote", "rename", "later", "origin")
    joined = commit_lock("smoke", "joined")
    assert git("log", "-1", "--format=%P", joined).split() == [first, second]
    assert git("show", f"{joined}:dvc.lock") == "new"
    assert git("rev-parse", "reruns/smoke", cwd=repository / "origin") == joined


def test_a_worker_that_was_overtaken_while_pushing_tries_again(repository, monkeypatch):
    other = clone(repository, "second", "of the second\n")
    fetch, raced = lock_module._fetch, []

    def fetch_slowly(branch):
        found = fetch(branch)
        if not raced:
            raced.append(True)
            monkeypatch.chdir(other)
            commit_lock("smoke", "of the second")
            monkeypatch.chdir(repository / "clone")
        return found

    monkeypatch.setattr(lock_module, "_fetch", fetch_slowly)
    commit_lock("smoke", "of the first")
    said = git("log", "--format=%s", "reruns/smoke", cwd=repository / "origin").splitlines()
    assert {"of the first", "of the second"} <= set(said)
    assert git("show", "reruns/smoke:dvc.lock", cwd=repository / "origin") == "new"


def lock(code: str = "1", raw: str = "1", rate: float = 0.1, made: str = "1") -> dict:
    return {
        "stages": {
            "download@mnist": {"outs": [{"path": "data/raw/mnist", "md5": raw}]},
            "prepare@m": {
                "deps": [{"path": "data/raw/mnist", "md5": raw}],
                "outs": [{"path": "data/prepared/m", "md5": made}],
            },
            "train_vae@x": {
                "deps": [
                    {"path": "data/prepared/m/train.safetensors", "md5": made},
                    {"path": "artifacts/x/tune_vae/best.yaml", "md5": made},
                    {"path": "src/diffusevae/models/vae.py", "md5": code},
                ],
                "params": {
                    "params.yaml": {
                        "experiments.x.vae_optimiser": {"learning_rate": rate},
                        "experiments.x.seed": 0,
                    }
                },
            },
            "train_vae@other": {"deps": [{"path": "src/other.py", "md5": code}]},
        }
    }


TARGETS = ["download@mnist", "prepare@m", "train_vae@x"]


def test_data_code_and_params_are_told_apart_and_what_is_made_on_the_way_does_not_count():
    assert not find_changes(lock(), lock(made="2"), TARGETS).anything
    changes = find_changes(lock(), lock(code="2", raw="2", rate=0.2), TARGETS)
    assert changes.data == ("data/raw/mnist",)
    assert changes.code == ("src/diffusevae/models/vae.py",)
    assert changes.params == ("experiments.x.vae_optimiser.learning_rate: 0.1 -> 0.2",)


def test_against_no_lock_everything_is_new():
    changes = find_changes({}, lock(), TARGETS)
    assert changes.params[0] == "experiments.x.seed: nothing -> 0" and changes.data and changes.code


@pytest.mark.parametrize("damage", ["<<<<<<< HEAD\nstages:\n", "a: [", "\0"])
def test_a_damaged_lock_is_named(damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_lock() == {}
    Path("dvc.lock").write_text(damage)
    with pytest.raises(EnvironmentFailure, match="git checkout HEAD dvc.lock"):
        read_lock()
