"""One study and many workers, on a real PostgreSQL and on an SQLite file: each slot is run once."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import psutil
import pytest
from optuna.pruners import NopPruner

from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.tuning import study_storage
from diffusevae.tuning.search import search
from diffusevae.tuning.slots import SLOT, open_study
from tests.support.checkouts import ROOT, wait_for
from tests.support.toy_search import BASE, make_config, objective

SECONDS = 180
names = (f"study{i}" for i in itertools.count())


@pytest.fixture
def database(postgres) -> str:
    """The address of an empty database."""
    return postgres.create(next(names)).replace("+psycopg", "")


@pytest.fixture(params=["postgresql", "sqlite"])
def address(request, tmp_path) -> str:
    """The address of an empty storage."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studies.db'}"
    return request.getfixturevalue("database")


def start(address: str, folder: Path, workers: int, trials: int, seconds: float, grace: int = 60):
    """Start workers of one study; see tests.support.study_workers."""
    variables = {
        "DIFFUSEVAE_OPTUNA_STORAGE": address,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }
    numbers = map(str, (workers, trials, seconds, grace))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.study_workers", folder, *numbers],
        cwd=folder,
        env=os.environ | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def end(process: subprocess.Popen) -> str:
    """Return what it said when all went well."""
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    return said


def begun(folder: Path) -> Counter:
    """Return how often each slot's trial was begun."""
    return Counter(int(slot) for file in folder.glob("*.ran") for slot in file.read_text().split())


def results(folder: Path) -> list[str]:
    return [file.read_text() for file in folder.glob("*.csv")]


def worker_of(folder: Path, slot: int) -> psutil.Process:
    """Return the worker that began this slot first, as soon as there is one."""

    def find():
        return [file.stem for file in folder.glob("*.ran") if str(slot) in file.read_text().split()]

    return psutil.Process(int(wait_for(find, f"slot {slot}")[0]))


@pytest.mark.parametrize(
    "workers", [6, *(pytest.param(16, marks=pytest.mark.slow, id=f"16-round{i}") for i in range(5))]
)
@pytest.mark.fault("O8", "O5")
def test_workers_that_start_at_once_end_with_the_exact_number(address, workers, tmp_path):
    end(start(address, tmp_path, workers, trials=10, seconds=0.1))
    assert begun(tmp_path) == dict.fromkeys(range(10), 1)
    assert len(results(tmp_path)) == workers and len(set(results(tmp_path))) == 1


@pytest.mark.fault("O3")
def test_a_killed_worker_s_trial_is_run_again_with_its_values(database, tmp_path):
    process = start(database, tmp_path, workers=2, trials=3, seconds=4, grace=5)
    worker_of(tmp_path, 0).kill()
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1 and "Traceback" not in said  # of the killed one
    assert begun(tmp_path) == {0: 2, 1: 1, 2: 1}
    [trials] = map(pd.read_csv, tmp_path.glob("*.csv"))
    assert trials.number.tolist() == [0, 1, 2]
    assert trials["optimiser.learning_rate"][0] == BASE["optimiser"].learning_rate


@pytest.mark.fault("O4", "O5")
def test_a_worker_that_was_held_up_loses_its_trial_and_goes_on(database, tmp_path):
    process = start(database, tmp_path, workers=2, trials=3, seconds=4, grace=5)
    held = worker_of(tmp_path, 0)
    held.send_signal(signal.SIGSTOP)
    wait_for(lambda: begun(tmp_path)[0] == 2, "another worker to take slot 0 over")
    held.send_signal(signal.SIGCONT)
    said = end(process)
    assert "its trial was given to another" in said
    assert begun(tmp_path) == {0: 2, 1: 1, 2: 1}
    assert len(results(tmp_path)) == 2 and len(set(results(tmp_path))) == 1


@pytest.mark.fault("O6")
def test_workers_outlive_a_crash_of_the_database(postgres, database, tmp_path):
    process = start(database, tmp_path, workers=2, trials=4, seconds=2, grace=5)
    wait_for(lambda: len(list(tmp_path.glob("*.ran"))) == 2, "both workers to have begun")
    postgres.kill()
    time.sleep(3)
    postgres.start()
    said = end(process)
    assert "Optuna's storage went away" in said and "Traceback" not in said
    assert set(begun(tmp_path)) == {0, 1, 2, 3}
    assert len(set(results(tmp_path))) == 1 and results(tmp_path)[0].count("\n") == 5


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.fault("O10")
def test_a_trial_whose_worker_died_before_its_first_heartbeat_is_run_by_another(
    address, tmp_path, monkeypatch
):
    monkeypatch.setenv("DIFFUSEVAE_OPTUNA_STORAGE", address)
    monkeypatch.setattr(study_storage, "GRACE_SECONDS", 2)
    study = open_study("shared", 1, 0, NopPruner())
    study.enqueue_trial({}, user_attrs={SLOT: 0})
    study.ask()  # and no more: it is optimize() that starts the heartbeat
    end(start(address, tmp_path, workers=1, trials=1, seconds=0, grace=2))
    assert begun(tmp_path) == {0: 1}


def test_who_comes_late_takes_the_result(database, tmp_path, monkeypatch):
    end(start(database, tmp_path, workers=1, trials=3, seconds=0))
    monkeypatch.setenv("DIFFUSEVAE_OPTUNA_STORAGE", database)

    def never(*_) -> None:
        raise AssertionError("a trial was run")

    result = search(make_config(3), "shared", 0, BASE, never)
    assert result.trials.to_csv() == results(tmp_path)[0]


@pytest.mark.fault("O1")
def test_a_failing_objective_is_told_and_its_slot_waits(address, monkeypatch):
    monkeypatch.setenv("DIFFUSEVAE_OPTUNA_STORAGE", address)

    def failing(values, slot, report) -> None:
        if slot == 1:
            raise ValueError("broken")
        objective(values, slot, report)

    with pytest.raises(ValueError, match="broken"):
        search(make_config(3), "failing", 0, BASE, failing)
    assert len(search(make_config(3), "failing", 0, BASE, objective).trials) == 3


@pytest.mark.parametrize(
    "address", ["mysql://me:secret@host/db", "no address: secret", "sqlite://"]
)
def test_an_address_that_is_none_is_refused(address, monkeypatch):
    monkeypatch.setenv("DIFFUSEVAE_OPTUNA_STORAGE", address)
    with pytest.raises(InputError, match="write postgresql://") as refusal:
        search(make_config(1), "study", 0, BASE, objective)
    assert "secret" not in str(refusal.value)


def test_a_database_that_is_away_or_refuses_is_named_without_the_password(postgres, monkeypatch):
    for port, reason in ((9, "refused"), (postgres.port, "password authentication failed")):
        address = f"postgresql://optuna:secret@127.0.0.1:{port}/optuna"
        monkeypatch.setenv("DIFFUSEVAE_OPTUNA_STORAGE", address)
        with pytest.raises(EnvironmentFailure, match=f"@127.0.0.1:{port}.*{reason}") as e:
            search(make_config(1), "study", 0, BASE, objective)
        assert "secret" not in str(e.value) and "\n" not in str(e.value)
