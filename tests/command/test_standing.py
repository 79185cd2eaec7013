"""Where an experiment stands, told of a finished run and of none."""

import shutil

from command import standing
from diffusevae.experiments.experiment import load_experiment
from tests.support.checkouts import SmokeRun, copy_checkout


def test_a_finished_run_is_up_to_date_and_its_report_and_champion_are_named(
    smoke_run: SmokeRun, monkeypatch, capsys
):
    monkeypatch.chdir(smoke_run.checkout)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    standing.show("smoke")
    said = capsys.readouterr().out
    rows = [line for line in said.splitlines() if "@" in line]
    assert len(rows) == len(load_experiment("smoke").targets)
    assert all("up to date" in row for row in rows)
    assert "report    reports/smoke.html" in said and "diffusevae-smoke, versions: " in said
    assert "is the champion" in said and "to do" not in said


def read_states(shown: str) -> dict[str, str]:
    """Return the state of each target in what `diffusevae status` shows."""
    rows = (line.split(maxsplit=1) for line in shown.splitlines() if "@" in line)
    return {target: state.strip() for target, state in rows}


def test_in_a_new_checkout_every_stage_is_to_be_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(copy_checkout(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    standing.show("quickstart")
    said = capsys.readouterr().out
    states = read_states(said)
    assert list(states) == list(load_experiment("quickstart").targets)
    assert set(states.values()) <= {"changed", "to be made anew"}
    assert f"to do     {len(states)} stages: `diffusevae run quickstart`" in said


def test_what_comes_after_a_changed_stage_is_to_be_made_anew(
    smoke_checkout, tmp_path, monkeypatch, capsys
):
    checkout = tmp_path / "checkout"
    shutil.copytree(smoke_checkout, checkout, symlinks=True)
    shutil.rmtree(checkout / "artifacts/smoke/train_vae")
    monkeypatch.chdir(checkout)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    standing.show("smoke")
    states = read_states(capsys.readouterr().out)
    first = list(states).index("train_vae@smoke")
    kinds = [state.partition("  ")[0].strip() for state in states.values()]
    assert set(kinds[:first]) == {"up to date"} and kinds[first] == "changed"
    assert set(kinds[first + 1 :]) <= {"changed", "to be made anew"}
