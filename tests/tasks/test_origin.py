"""A registered version's commit and lock, taken from the registry and put into a folder."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger
from ruamel.yaml import YAML

from diffusevae.core.errors import InputError
from diffusevae.tracking.stage_logger import NOTE
from tasks.parent_run import git_tags, open_parent_run
from tasks.registry.origin import check_out, find_origin
from tasks.registry.registration import register
from tasks.reproduction import NotReproduced, run_again
from tests.support.toy_registry import TOY

OUT = "made.txt"
COMMAND = (
    'python -c "import diffusevae, pathlib; here = pathlib.Path.cwd(); own = pathlib.Path('
    f"diffusevae.__file__).is_relative_to(here); pathlib.Path('{OUT}').write_text(str(own))\""
)


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def write_lock(made: str) -> None:
    digest = hashlib.md5(made.encode()).hexdigest()
    stage = {"cmd": COMMAND, "outs": [{"path": OUT, "md5": digest}]}
    YAML().dump({"stages": {"make@toy": stage}}, Path("dvc.lock"))


@pytest.fixture
def version(store, tmp_path) -> str:
    """The toy's first version, made from a commit and another dvc.lock than that of the commit."""
    Path(".gitignore").write_text("/artifacts/\n/data/\n/scratch/\n/mlflow/\n/out/\n")
    write_lock("what others made")
    git("init", "--quiet")
    git("remote", "add", "origin", "https://person:secret@example.org/o/r.git")
    git("add", ".gitignore", "dvc.lock", "params.yaml", "constraints.txt", "src")
    git("commit", "--quiet", "--message", "toy")
    write_lock("True")
    with open_parent_run("toy", "toy_data") as parent, disable_run_logger():
        found = register.fn(TOY, parent.id)
        parent.record_file(Path("dvc.lock"))
    return f"{found.name}/{found.version}"


def test_its_pages_lead_to_commit_lock_and_report(version, store):
    found = store.get_model_version(*version.split("/"))
    run = store.get_run(found.run_id)
    commit = f"[`{git_tags()['git_commit']}`](https://example.org/o/r/commit/"
    files = f"](#/experiments/{run.info.experiment_id}/runs/{found.run_id}/artifacts/"
    for page in (found.description, run.data.tags[NOTE]):
        assert commit in page and "secret" not in page
        assert f"[`dvc.lock`{files}dvc.lock)" in page and f"[report{files}toy.html)" in page
    assert f"/blob/{git_tags()['git_commit']}/dvc.lock)" in found.description
    logged = store.get_logged_model(found.source.removeprefix("models:/"))
    assert logged.tags[NOTE] == found.description
    about = store.get_registered_model(found.name).description
    assert about.endswith("Its code: [example.org/o/r](https://example.org/o/r).")


def test_a_version_is_made_again_with_its_own_code_and_lock(version, store, tmp_path):
    said: list[str] = []
    name, number = version.split("/")
    card = store.get_model_version(name, number).description
    assert "`diffusevae reproduce diffusevae-toy/N`" in card
    git("rm", "--quiet", "--cached", "constraints.txt")
    git("commit", "--quiet", "--message", "another")  # the version's commit is the one before
    origin = find_origin(version)
    assert origin.experiment == "toy" and origin.commit != git_tags()["git_commit"]
    for _ in range(2):  # a folder that is there is made anew
        lock = check_out(origin, Path("scratch/again"))
    assert Path("scratch/again/dvc.lock").read_bytes() == Path("dvc.lock").read_bytes()
    assert Path("scratch/again/constraints.txt").is_file()
    (Path("scratch/again/src")).unlink()
    package = Path("scratch/again/src/diffusevae")
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    run_again(["make@toy"], lock, Path("scratch/again"), said.append, own=True)
    assert said == ["make@toy: the same"]
    write_lock("False")
    with pytest.raises(NotReproduced, match="make@toy: made.txt differs"):
        run_again(
            ["make@toy"], YAML().load(Path("dvc.lock")), Path("scratch/again"), said.append, True
        )


def test_what_cannot_be_made_again_is_one_line(version, store):
    for wrong in (
        "diffusevae-toy/9",
        "diffusevae-none/1",
        "diffusevae-toy/x",
        "diffusevae-toy/01",
        "diffusevae-toy/",
    ):
        with pytest.raises(InputError, match="the registry has no such version"):
            find_origin(wrong)
    with pytest.raises(InputError, match="no model of an experiment"):
        find_origin("latents-toy/1")
    origin = find_origin(version)
    elsewhere = origin.__class__("toy", "0" * 40, origin.run)
    with pytest.raises(InputError, match=r"is not in this repository; `git fetch --all`"):
        check_out(elsewhere, Path("scratch/again"))
    commit = git_tags()["git_commit"]
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "\n")
    assert git_tags() == {"git_commit": f"{commit}-dirty"}
    store.set_model_version_tag(*version.split("/"), "git_commit", f"{commit}-dirty")
    with pytest.raises(InputError, match="and changes to it, which are kept nowhere"):
        find_origin(version)
