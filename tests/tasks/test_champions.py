"""Promoters that race, die half-way or are slow: the chain of champions stays unbroken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tasks.registry import champions
from tasks.registry.champions import Overtaken, appoint, find_champion, list_appointments
from tests.support.servers import serve_mlflow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def toy(mlflow_store: MlflowClient) -> MlflowClient:
    """A registered model `toy` with three versions that hold nothing."""
    mlflow_store.create_registered_model("toy")
    for _ in range(3):
        mlflow_store.create_model_version("toy", "s3://nowhere/model")
    return mlflow_store


def race(address: str, num_rounds: int) -> list[list[tuple[str, str]]]:
    """Let eight processes promote; return the version and the answer of each, round by round."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.promoters", "8", str(num_rounds)],
        text=True,
        timeout=900,
        env=os.environ | {"MLFLOW_TRACKING_URI": address, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert done.returncode == 0
    return json.loads(done.stdout)


def check(rounds: list[list[tuple[str, str]]]) -> None:
    """Hold what promoters were told against the chain, one link for each round."""
    chain = list_appointments("toy")
    assert [link.reason for link in chain] == [f"round {i}" for i in range(len(rounds))]
    assert [link.before for link in chain] == ["", *(link.version for link in chain[:-1])]
    assert find_champion("toy") == chain[-1].version
    for answers, link in zip(rounds, chain, strict=True):
        assert [version for version, told in answers if not told] == [link.version]
        losers = [told for version, told in answers if version != link.version]
        assert len(losers) == 7
        assert all(f"version {link.version} is the champion now" in told for told in losers)


@pytest.mark.fault("R2")
def test_of_eight_promoters_one_wins_each_round_and_the_others_are_told(mlflow_store):
    check(race(os.environ["MLFLOW_TRACKING_URI"], 3))


@pytest.mark.slow
@pytest.mark.parametrize("server", [False, True])
@pytest.mark.fault("R2")
def test_twenty_rounds(mlflow_store, tmp_path, monkeypatch, server):
    address = os.environ["MLFLOW_TRACKING_URI"]
    if not server:
        return check(race(address, 20))
    with serve_mlflow(tmp_path) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        check(race(address, 20))


def test_who_judged_against_a_former_champion_changes_nothing(toy):
    appoint("toy", "1", None, "first", "for a test")
    appoint("toy", "2", "1", "promoted", "better")
    with pytest.raises(Overtaken, match="2 is the champion now, version 1 was when") as told:
        appoint("toy", "3", "1", "promoted", "better, too")
    assert told.value.champion == "2" == find_champion("toy")
    assert "gate" not in toy.get_model_version("toy", "3").tags
    assert [link.version for link in list_appointments("toy")] == ["1", "2"]


@pytest.mark.fault("R5")
def test_what_a_promoter_that_died_had_won_is_carried_out_by_the_next(toy, monkeypatch):
    appoint("toy", "1", None, "first", "for a test")
    with monkeypatch.context() as patch:
        patch.setattr(champions, "_write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            appoint("toy", "2", "1", "promoted", "better")
    assert find_champion("toy") == "1"
    with pytest.raises(Overtaken, match="version 2 is the champion now"):
        appoint("toy", "3", "1", "promoted", "better, too")
    assert find_champion("toy") == "2"
    tags = toy.get_model_version("toy", "2").tags
    assert (tags["gate"], tags["gate_before"]) == ("promoted", "1")


def test_a_promoter_that_wakes_late_leaves_the_newest_champion(toy, monkeypatch):
    write, late = champions._write, []

    def sleep_first(*arguments):
        if not late:
            late.append(True)
            with pytest.raises(Overtaken):
                appoint("toy", "2", None, "promoted", "carries out what sleeps")
            appoint("toy", "2", "1", "promoted", "while the first slept")
        write(*arguments)

    monkeypatch.setattr(champions, "_write", sleep_first)
    appoint("toy", "1", None, "first", "for a test")
    assert find_champion("toy") == "2"
    assert [link.version for link in list_appointments("toy")] == ["1", "2"]


def test_an_answer_that_was_lost_is_no_second_appointment(toy, monkeypatch):
    create = MlflowClient.create_model_version

    def lose(*arguments, **options):
        monkeypatch.setattr(MlflowClient, "create_model_version", create)
        create(*arguments, **options)
        raise MlflowException("API request failed with exception: timed out")

    monkeypatch.setattr(MlflowClient, "create_model_version", lose)
    appoint("toy", "1", None, "first", "for a test")
    assert [link.version for link in list_appointments("toy")] == ["1"]
    assert find_champion("toy") == "1"


def test_an_alias_that_was_moved_by_hand_stays_and_counts(toy):
    appoint("toy", "1", None, "first", "for a test")
    toy.set_registered_model_alias("toy", champions.CHAMPION, "3")
    with pytest.raises(Overtaken, match="version 3 is the champion now"):
        appoint("toy", "2", "1", "promoted", "better")
    assert find_champion("toy") == "3"
    appoint("toy", "2", "3", "promoted", "better")
    assert [(link.before, link.version) for link in list_appointments("toy")] == [
        ("", "1"),
        ("3", "2"),
    ]
