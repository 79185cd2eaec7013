"""What an experiment will take, told to a person."""

from pathlib import Path

import pytest

from diffusevae.core.errors import InputError
from diffusevae.experiments.experiment import load_experiment
from flows.plan import describe_gpu, describe_no_gpu, duration, plan
from tasks.probe.cost import Cost
from tests.support.checkouts import ROOT


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_a_duration_has_the_units_a_person_would_use(seconds, said):
    assert duration(seconds) == said


def test_what_is_no_experiment_is_refused():
    with pytest.raises(InputError, match="'smoke'"):
        plan("smoky")


def test_a_gpu_is_told_of_where_there_is_one_and_its_absence_elsewhere():
    costs = {"train_vae@x": Cost(60, 1, 1, gpu=2e9), "report@x": Cost(30, 1, 1)}
    said = describe_gpu(costs)
    assert said.startswith("GPU: 2000 MB of its memory at most, by train_vae@x; 1 min 00 s of")
    assert describe_gpu({"report@x": Cost(30, 1, 1)}) is None
    said = describe_no_gpu({"vae": 1.5e9, "unet": 2e8})
    assert "none here" in said and "1500 MB (vae) and 200 MB (unet)" in said


@pytest.mark.slow
def test_the_disk_that_is_predicted_is_what_the_run_took(smoke_run, monkeypatch, capsys):
    monkeypatch.chdir(smoke_run.checkout)
    plan("smoke")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    told = {row[0]: 1e6 * float(row[-1]) for row in rows if row and row[0].endswith("@smoke")}
    assert set(told) == {each for each in load_experiment("smoke").targets if "@smoke" in each}
    made = smoke_run.checkout / "artifacts/smoke"
    recorded = smoke_run.checkout / "mlflow/artifacts/smoke"
    taken = 2 * size(made) + size(recorded) - size(recorded / "models")
    assert sum(told.values()) == pytest.approx(taken, rel=0.3)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
