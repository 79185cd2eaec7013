"""Databases that are damaged, locked or no files, or that never answer: one line, exit code 3."""

import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path

import pytest
from optuna.pruners import NopPruner

from diffusevae.core import database_file
from diffusevae.core.command import run_command
from diffusevae.core.errors import EnvironmentFailure, Failure, InputError
from diffusevae.tracking import sender
from diffusevae.tracking.recorder import record
from diffusevae.tracking.sender import send_unsent
from diffusevae.tuning import study_storage
from diffusevae.tuning.slots import open_study, run_slots
from flows.prefect_server import TemporaryServer
from flows.serve import make_app
from tasks import tracking_server
from tasks.parent_run import mlflow_failures, open_parent_run
from tests.support.records import CLOSE, lines, runs_of

BEGIN = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def use_studies() -> None:
    study = open_study("mine", 1, 0, NopPruner())
    run_slots(study, 1, {}, lambda trial, slot: 1.0, lambda text: None)


def use_mlflow() -> None:
    with open_parent_run("toy", "tiny") as parent:
        parent.client.set_tag(parent.id, "tag", "value")


def use_prefect() -> None:
    TemporaryServer(Path("scratch/prefect").absolute()).stop()


@pytest.fixture(scope="module")
def used_studies(tmp_path_factory) -> bytes:
    """The file of Optuna's studies, with a trial."""
    with chdir(tmp_path_factory.mktemp("studies")):
        use_studies()
        return Path("scratch/studies/optuna.db").read_bytes()


@pytest.fixture(params=["optuna", "mlflow", "prefect", "logins"])
def store(request, tmp_path, monkeypatch, used_studies, empty_store):
    """A store's file in a checkout of its own, and what uses it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # so that it is as it was after the test
    monkeypatch.setattr(tracking_server, "HOME", tmp_path / "mlflow")
    monkeypatch.setattr(tracking_server, "LOGINS", tmp_path / "mlflow/logins.db")
    monkeypatch.setattr(os, "environ", os.environ.copy())  # in which a server is told its login
    # What the last two hold does not matter to us.
    name, content, use = {
        "optuna": ("scratch/studies/optuna.db", used_studies, use_studies),
        "mlflow": ("mlflow/mlflow.db", empty_store.read_bytes(), use_mlflow),
        "prefect": ("scratch/prefect/prefect.db", used_studies, use_prefect),
        "logins": ("mlflow/logins.db", used_studies, lambda: tracking_server.configure("5000")),
    }[request.param]
    path = tmp_path / name
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_bytes(content)
    return path, use


DAMAGES = {
    "truncated": lambda content: content[:5000],
    "half": lambda content: content[: len(content) // 2],
    "only a header": lambda content: content[:100],
    "random": lambda content: random.Random(0).randbytes(9000),
    "short": lambda content: b"SQLite",
    "zeros": lambda content: bytes(8192),
    "a text": lambda content: b"version https://git-lfs.github.com/spec/v1\n" * 20,
    "random after its header": lambda content: (
        content[:100] + random.Random(0).randbytes(len(content) - 100)
    ),
}


def one_line(capsys) -> str:
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    [line] = [each for each in said.err.splitlines() if each.startswith("error:")]
    return line


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.fault("O9")
def test_a_damaged_file_is_one_line(store, capsys, damage):
    path, use = store
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    before = path.read_bytes()
    assert run_command(use) == 3
    assert re.match(
        rf"error: {path}: is damaged \(.*\); move it away to begin anew", one_line(capsys)
    )
    assert path.read_bytes() == before


def test_a_folder_in_its_place_is_one_line(store, capsys):
    path, use = store
    path.unlink()
    path.mkdir()
    assert run_command(use) == 3
    assert one_line(capsys) == f"error: {path}: is no file; move away what stands in its place"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"user": "a"}', '{"user": 1}', "\0\xff"])
def test_a_damaged_login_is_one_line(tmp_path, monkeypatch, content):
    monkeypatch.setattr(tracking_server, "HOME", tmp_path)
    (tmp_path / "login.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=f"{tmp_path}/login.json.*move it and logins.db away"):
        tracking_server.login()


@pytest.mark.fault("O9")
def test_the_mend_that_is_named_works(store):
    path, use = store
    path.write_bytes(bytes(8192))
    assert run_command(use) == 3
    path.rename(path.with_suffix(".away"))
    assert run_command(use) == 0


def test_an_empty_file_holds_nothing_and_is_begun_anew(store):
    path, use = store
    path.write_bytes(b"")  # as a kill leaves it between the file's making and its first table
    assert run_command(use) == 0


@pytest.mark.parametrize("store", ["mlflow"], indirect=True)
def test_what_serves_a_model_says_it_and_has_forgotten_our_code(store, capsys, monkeypatch):
    path, _ = store
    path.write_bytes(bytes(8192))
    for name in [each for each in sys.modules if each.partition(".")[0] == "diffusevae"]:
        monkeypatch.delitem(sys.modules, name)  # to be there again after the test

    def use() -> None:
        try:
            make_app("models:/toy/1", 5001)
        finally:
            assert not [each for each in sys.modules if each.startswith("diffusevae")]

    assert run_command(use) == 3
    assert f"error: {path}: is damaged" in one_line(capsys)


@contextmanager
def held(path: Path, statement: str) -> Iterator[int]:
    """Let another process hold the file; yield its PID."""
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN, path, statement],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("statement", ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"])
@pytest.mark.fault("O7")
def test_a_locked_file_is_one_line_that_names_who_holds_it(store, capsys, monkeypatch, statement):
    path, use = store
    monkeypatch.setattr(database_file, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(database_file, "SILENT_SECONDS", 0.1)
    with held(path, statement) as pid:
        assert run_command(use) == 3
    said = capsys.readouterr()
    assert f"waiting for {path}, up to 0.2 s: it is held by process {pid}" in said.out
    assert re.fullmatch(
        rf"error: {path}: is locked still after \d+ s, by process {pid}; wait for "
        "its end or stop it, then start again\n",
        said.err,
    )
    assert run_command(use) == 0


@pytest.mark.fault("O7")
def test_a_lock_that_is_let_go_is_waited_for(store, monkeypatch):
    path, use = store
    monkeypatch.setattr(database_file, "SILENT_SECONDS", 0)
    with ExitStack() as stack:

        def let_go(path: Path) -> str:  # once it is said that it is held
            stack.close()
            return "another process"

        monkeypatch.setattr(database_file, "_name_holders", let_go)
        stack.enter_context(held(path, "BEGIN EXCLUSIVE"))
        assert run_command(use) == 0


@pytest.mark.parametrize("store", ["optuna"], indirect=True)
@pytest.mark.fault("O7", "O9")
def test_a_study_whose_file_is_damaged_or_locked_while_it_runs(store, monkeypatch):
    path, _ = store
    monkeypatch.setattr(study_storage, "WAIT_SECONDS", 0.1)
    study = open_study("other", 2, 0, NopPruner())

    def run() -> None:
        run_slots(study, 2, {}, lambda trial, slot: 1.0, lambda text: None)

    with (
        held(path, "BEGIN EXCLUSIVE") as pid,
        pytest.raises(EnvironmentFailure, match=f"{path}: is locked still.* process {pid}"),
    ):
        run()
    path.write_bytes(bytes(8192))
    with pytest.raises(EnvironmentFailure, match=f"{path}: is damaged"):
        run()


def test_a_store_that_is_damaged_while_it_is_used(mlflow_store, tmp_path):
    path = tmp_path / "mlflow/mlflow.db"
    path.write_bytes(bytes(8192))
    with pytest.raises(EnvironmentFailure, match=f"{path}: is damaged"), mlflow_failures():
        mlflow_store.search_experiments()


def test_no_page_of_noise_brings_a_traceback(store):
    """Each page in its turn: it is not noticed, or one line."""
    path, use = store
    content, generator = path.read_bytes(), random.Random(0)
    for start in range(0, min(len(content), 40 * 4096), 4096):
        damaged = content[:start] + generator.randbytes(4096) + content[start + 4096 :]
        path.write_bytes(damaged)
        try:
            use()
        except Failure as failure:
            assert str(path) in str(failure) and "\n" not in str(failure)


@pytest.fixture
def blackhole() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield server.getsockname()[1]


def test_a_server_that_never_answers_is_said_and_given_up(blackhole, monkeypatch, capsys):
    monkeypatch.setenv(
        study_storage.STORAGE_VARIABLE, f"postgresql://u:canary@127.0.0.1:{blackhole}/d"
    )
    monkeypatch.setattr(study_storage, "CONNECT_SECONDS", 2)  # the least that libpq takes
    monkeypatch.setattr(study_storage, "SILENT_SECONDS", 0.1)
    assert run_command(use_studies) == 3
    said = capsys.readouterr()
    assert said.out == (
        f"waiting for postgresql+psycopg://***@127.0.0.1:{blackhole}/d, to connect up to 2 s\n"
    )
    assert "does not answer" in said.err and said.err.count("\n") == 1
    assert "canary" not in said.out + said.err


def test_a_server_that_refuses_is_given_up_at_once_and_in_silence(blackhole, monkeypatch, capsys):
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv(
            study_storage.STORAGE_VARIABLE, f"postgresql://127.0.0.1:{closed.getsockname()[1]}/d"
        )
        assert run_command(use_studies) == 3
    said = capsys.readouterr()
    assert said.out == "" and "does not answer" in said.err and said.err.count("\n") == 1


def test_what_is_recorded_meanwhile_is_kept_and_sent_later(mlflow_store, monkeypatch, capfd):
    monkeypatch.setattr(sender, "WAIT_SECONDS", 0)
    monkeypatch.setattr(sender, "LAST_TRY_SECONDS", 0)
    path = Path("mlflow/mlflow.db").absolute()
    content = path.read_bytes()
    path.write_bytes(bytes(8192))
    before = threading.enumerate()
    record(lines(CLOSE))
    for thread in set(threading.enumerate()) - set(before):
        thread.join()  # it ends with its process elsewhere
    said = capfd.readouterr().err
    assert f"warning: MLflow says: {path}: is damaged" in said and "is kept in scratch" in said
    path.write_bytes(content)
    assert send_unsent()
    [run] = runs_of(mlflow_store)
    assert run.info.status == "FINISHED"
