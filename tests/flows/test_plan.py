"""What an experiment will take: the line through two points, and what is run to get them."""

from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from diffusevae.core.errors import InputError
from diffusevae.experiments.experiment import load_experiment
from flows.plan import duration, plan
from tasks.probe.cost import Cost, Load, extrapolate
from tasks.probe.networks import cost_of_drawn_networks
from tasks.probe.scale import scale_down
from tasks.probe.trial_checkout import read_command
from tests.support.checkouts import ROOT

PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
EXPERIMENTS = ("smoke", "quickstart", "cpu_fashion_mnist")


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_what_is_predicted_lies_on_the_line_through_both_points():
    first = Load(100, 100, 1), Cost(3, 1000, 500, 50)
    second = Load(300, 300, 1), Cost(5, 1200, 900, 50)
    cost = extrapolate(first, second, Load(work=10_000, images=1000, snapshots=4), 10)
    assert cost == Cost(5 + 9700 / 100, 1200 + 10 * 700, 900 + 2 * 700 + 3 * 50)


def test_more_work_is_never_predicted_to_take_less():
    first, second = (Load(100, 100), Cost(5, 9, 9)), (Load(300, 300), Cost(4, 8, 8))
    assert extrapolate(first, second, Load(1000, 1000), 0) == Cost(4, 9, 8)


def test_where_nothing_grows_the_greater_is_told():
    same = Load(7, 7)
    assert extrapolate((same, Cost(5, 9, 9)), (same, Cost(6, 8, 9)), same, 5) == Cost(6, 9, 9)


@pytest.fixture(scope="module")
def stages() -> dict:
    """Every stage as DVC itself reads dvc.yaml, by its target."""
    with Repo(str(ROOT)) as repo:
        return {stage.addressing: stage for stage in repo.index.stages}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_commands_are_those_that_dvc_runs(stages, name):
    experiment = load_experiment(name)
    for target in experiment.targets:
        command, out = read_command(experiment, target)
        assert command == stages[target].cmd
        assert all(Path(each.def_path).is_relative_to(out) for each in stages[target].outs)


@pytest.mark.parametrize("name", PARAMS["experiments"])
def test_an_experiment_scaled_down_is_small_and_the_one_given_stays(name):
    sections = PARAMS["experiments"][name]
    dataset = PARAMS["datasets"][sections["dataset"]]
    sizes = {"train": 50_000, "validation": 5000, "test": 10_000}
    before = str(sections), str(dataset)
    images, few = scale_down(dataset, sections, sizes, 4)
    assert (str(sections), str(dataset)) == before
    assert few["train_vae"]["epochs"] == few["tune_ddpm"]["n_trials"] == 1
    assert few["tune_vae"]["num_images"] <= images["images"]["train_images"] < 5000
    assert few["sample"]["num_images"] <= images["images"]["test_images"] == 400


def test_networks_drawn_from_a_space_cost_what_their_flops_do(tmp_path, monkeypatch):
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    smoke = params["experiments"]["smoke"]
    smoke["tune_ddpm"]["space"] = {"unet": {"base_channels": {"choices": [16]}}}
    smoke["tune_vae"]["space"] = {"vae": {"dropout": {"low": 0.0, "high": 0.3}}}
    with open(tmp_path / "params.yaml", "w") as file:
        YAML().dump(params, file)
    monkeypatch.chdir(tmp_path)
    experiment = load_experiment("smoke")
    # Twice the channels: four times the work, but for the ends and the attention map: twice.
    assert 3 < cost_of_drawn_networks(experiment, "tune_ddpm@smoke", (1, 32, 32)) < 4
    assert cost_of_drawn_networks(experiment, "tune_vae@smoke", (1, 32, 32)) == 1


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "name one experiment"), (["smoke", "mnist"], "name one"), (["smoky"], "'smoke'")],
)
def test_what_is_no_experiment_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        plan(arguments)


@pytest.mark.slow
def test_the_disk_that_is_predicted_is_what_the_run_took(smoke_run, monkeypatch, capsys):
    monkeypatch.chdir(smoke_run.checkout)
    plan(["smoke"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    told = {row[0]: 1e6 * float(row[-1]) for row in rows if row and row[0].endswith("@smoke")}
    assert set(told) == {each for each in load_experiment("smoke").targets if "@smoke" in each}
    made = smoke_run.checkout / "artifacts/smoke"
    recorded = smoke_run.checkout / "mlflow/artifacts/smoke"
    taken = 2 * size(made) + size(recorded) - size(recorded / "models")
    assert sum(told.values()) == pytest.approx(taken, rel=0.3)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
