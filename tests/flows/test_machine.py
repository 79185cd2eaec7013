"""Machines that are not as ours: moved checkouts, proxies, other versions' databases, merges."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.tracking.mlflow_store import connect, experiment_id
from diffusevae.tuning import study_storage
from flows.prefect_server import TemporaryServer, free_port
from tasks.checkout import require_checkout, require_repository
from tasks.dvc.lock import read_lock
from tasks.relocation import relocate
from tests.support.checkouts import ROOT, mark_checkout


def sql(path: Path, command: str) -> list:
    with sqlite3.connect(path) as database:
        return database.execute(command).fetchall()


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@localhost")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=check
    )
    return done.stdout + done.stderr


@pytest.fixture
def merging(tmp_path, monkeypatch) -> Path:
    """A repository in the middle of a merge that has left conflicts in the three files."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q", "-b", "main")
    for side in ("base", "theirs", "ours"):
        if side == "theirs":
            git(tmp_path, "checkout", "-q", "-b", "other")
        elif side == "ours":
            git(tmp_path, "checkout", "-q", "main")
        for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
            Path(name).write_text(f"stages: {side}\n")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", side)
    git(tmp_path, "merge", "other", check=False)
    return tmp_path


def test_the_way_out_of_a_merge_works_in_its_middle(merging):
    with pytest.raises(EnvironmentFailure, match="git checkout HEAD dvc.lock"):
        read_lock()
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        with pytest.raises(InputError, match=f"{name} line 1: a merge has .*both sides") as found:
            require_checkout()
        command = str(found.value).rpartition("`git ")[2].removesuffix("`").split()
        git(merging, *command)
        assert Path(name).read_text() == "stages: ours\n"
    require_checkout()
    assert read_lock() == {"stages": "ours"}


def test_without_a_repository_or_git_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EnvironmentFailure, match="no dvc.yaml"):
        require_checkout()
    Path("dvc.yaml").touch()
    with pytest.raises(EnvironmentFailure, match="no git repository, .* run `git init`"):
        require_checkout()
    git(tmp_path, "init", "-q")
    require_checkout()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailure, match="git: cannot be started .*install it"):
        require_repository()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_repository_of_another_user_is_named_with_git_s_way_to_trust_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    git(tmp_path, "init", "-q")
    for path in (tmp_path, tmp_path / ".git"):
        os.chown(path, 12345, 12345)
    with pytest.raises(EnvironmentFailure, match="another user.*safe.directory") as found:
        require_repository()
    subprocess.run(str(found.value).split("`")[1], shell=True, check=True)
    require_repository()


def test_loopback_is_asked_past_a_dead_proxy_and_the_rest_through_it(tmp_path):
    code = (
        "import flows, os, socket, threading, urllib.request, requests, httpx\n"
        "from http.server import HTTPServer, BaseHTTPRequestHandler as Handler\n"
        "Handler.do_GET = lambda self: self.send_response(204) or self.end_headers()\n"
        "server = HTTPServer(('127.0.0.1', 0), Handler)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "for host in ('127.0.0.1', 'localhost'):\n"
        "    url = f'http://{host}:{server.server_port}/'\n"
        "    assert urllib.request.urlopen(url).status == 204\n"
        "    assert requests.get(url).status_code == httpx.get(url).status_code == 204\n"
        "for name in ('NO_PROXY', 'no_proxy'):\n"
        "    assert os.environ[name] == 'my.org,127.0.0.1,localhost,::1'\n"
        "try:\n"
        "    urllib.request.urlopen('http://data.example/')\n"
        "except OSError as error:\n"
        "    assert 'refused' in str(error), error\n"
        "else:\n"
        "    raise AssertionError('not through the proxy')\n"
    )
    dead = f"http://127.0.0.1:{free_port()}"
    names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
    environment = {name: value for name, value in os.environ.items() if name != "no_proxy"}
    environment |= dict.fromkeys(names, dead) | {"NO_PROXY": "my.org", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_another_s_mlflow_database_is_not_upgraded_but_the_command_named(
    mlflow_store, tmp_path, monkeypatch
):
    sql(tmp_path / "mlflow/mlflow.db", "UPDATE alembic_version SET version_num = '75868b020152'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:////{tmp_path}/mlflow/mlflow.db")
    with pytest.raises(EnvironmentFailure, match="MLFLOW_TRACKING_URI: .*mlflow db upgrade"):
        connect()


def test_what_a_moved_checkout_registered_loads(mlflow_store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    client = connect()
    group = experiment_id(client, "my pets")
    model = client.create_logged_model(group, "model")
    client.create_registered_model("pets")
    client.create_model_version("pets", f"models:/{model.model_id}")
    (tmp_path / "a new").mkdir()
    (tmp_path / "mlflow").rename(tmp_path / "a new/mlflow")
    monkeypatch.chdir(tmp_path / "a new")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    place = connect().get_model_version_download_uri("pets", "1")
    assert place.startswith((tmp_path / "a new/mlflow/artifacts").as_uri())


@pytest.fixture
def studies(tmp_path, monkeypatch) -> Path:
    """The file of Optuna's studies, which has one."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "scratch/studies/optuna.db"
    path.parent.mkdir(parents=True)
    study_storage.connect().create_new_study(
        [study_storage.optuna.study.StudyDirection.MINIMIZE], "mine"
    )
    return path


def test_an_older_optuna_file_is_upgraded_after_a_copy_and_a_shared_one_is_not(
    studies, monkeypatch
):
    from alembic import command

    storage = study_storage.connect()
    sql(studies, "CREATE INDEX trials_study_id_key ON trials (study_id)")  # as older ones had it
    command.downgrade(storage._version_manager._create_alembic_config(), "-1")
    [(older,)] = sql(studies, "SELECT version_num FROM alembic_version")
    monkeypatch.setenv(study_storage.STORAGE_VARIABLE, f"sqlite:///{studies}")
    with pytest.raises(EnvironmentFailure, match="older Optuna.*optuna storage upgrade"):
        study_storage.connect()
    monkeypatch.delenv(study_storage.STORAGE_VARIABLE)
    assert [each.study_name for each in study_storage.connect().get_all_studies()] == ["mine"]
    kept = Path(f"{studies}.before-{older}")
    assert sql(kept, "SELECT version_num FROM alembic_version") == [(older,)]


def test_a_newer_optuna_file_is_named(studies):
    sql(studies, "UPDATE alembic_version SET version_num = 'v9.9.9'")
    with pytest.raises(EnvironmentFailure, match="optuna.db: its tables .* newer Optuna"):
        study_storage.connect()


def test_a_newer_prefect_database_is_named(tmp_path):
    sql(tmp_path / "prefect.db", "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    sql(tmp_path / "prefect.db", "INSERT INTO alembic_version VALUES ('fedcba987654')")
    server = TemporaryServer(tmp_path)
    with pytest.raises(EnvironmentFailure, match="newer Prefect.*move that folder away"):
        server.wait()
    server.stop()


def test_explore_on_a_taken_port_is_one_line_and_no_login_is_shown(tmp_path):
    mark_checkout(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [sys.executable, "-m", "diffusevae", "explore", "latents", "--port", str(port)]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": f"{ROOT}"},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"error: port {port}: ") and "--port " in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("place", ["old", "an old"])
@pytest.mark.fault("B9")
def test_an_environment_works_where_it_was_moved_to(place, tmp_path):
    old = tmp_path / place
    (old / "src").mkdir(parents=True)
    (old / "src/moved.py").write_text("")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", old / ".venv"], check=True)
    packages = next((old / ".venv/lib").glob("python*/site-packages"))
    (packages / "__editable__.diffusevae-0.1.0.pth").write_text(f"{old}/src\n")
    python = f"{old}/.venv/bin/python3.11"
    script = old / ".venv/bin/tool"  # as pip writes it
    by_sh = f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''"
    head = by_sh if " " in place else f"#!{python}"
    code = "import sys, moved\nprint(moved.__file__, sys.prefix, sys.argv[1])"
    script.write_text(f"{head}\n{code}\n")
    script.chmod(0o755)
    relocate(old / ".venv")
    relocate(old / ".venv")  # again changes nothing
    new = old.rename(tmp_path / "a new")
    shown = subprocess.run(
        [new / ".venv/bin/tool", "b c"], capture_output=True, text=True, check=True, cwd="/"
    ).stdout
    assert shown.strip() == f"{new}/src/moved.py {new}/.venv b c"
    activate = f". '{new}/.venv/bin/activate' && python -c 'import sys; print(sys.prefix)'"
    shown = subprocess.run(["bash", "-c", activate], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == f"{new}/.venv"


def test_make_says_at_once_what_a_zip_of_the_sources_lacks(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "tasks/relocation.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    done = subprocess.run(["make", "run"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "run `git init`" in done.stderr + done.stdout
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("name", ["que?ry", 'quo"te', "new\nline"])
def test_a_folder_where_no_database_can_be_is_named(name, tmp_path, monkeypatch):
    """SQLAlchemy would make the file elsewhere, or SQL end in its middle."""
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("dvc.yaml").touch()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for use in (require_checkout, connect):
        with pytest.raises(EnvironmentFailure, match="no database can be .*rename") as found:
            use()
        assert "\n" not in str(found.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_of_any_other_name_holds_its_own_store(tmp_path, monkeypatch):
    folder = tmp_path / "-rf <b>&amp; it's 10%41 #1; $HOME `id`"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = connect()
    run = client.create_run(experiment_id(client, "x")).info.run_id
    Path("kept.txt").write_text("kept")
    client.log_artifact(run, "kept.txt")
    assert Path(client.download_artifacts(run, "kept.txt")).read_text() == "kept"
    assert [*tmp_path.iterdir()] == [folder] and Path("mlflow/mlflow.db").exists()
