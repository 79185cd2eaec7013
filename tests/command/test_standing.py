"""Where an experiment stands, told of a finished run and of none."""

from command import standing
from diffusevae.experiments.experiment import load_experiment
from tests.support.checkouts import SmokeRun


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
