"""What is tried is what DVC runs."""

from pathlib import Path

import pytest
from dvc.repo import Repo

from diffusevae.experiments.experiment import load_experiment
from tasks.probe.trial_checkout import read_command
from tests.support.checkouts import ROOT

EXPERIMENTS = ("smoke", "quickstart", "cpu_fashion_mnist")


@pytest.fixture(scope="module")
def stages() -> dict:
    """Every stage as DVC itself reads dvc.yaml, by its target."""
    with Repo(str(ROOT)) as repo:
        return {stage.addressing: stage for stage in repo.index.stages}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_commands_are_those_that_dvc_runs(stages, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    experiment = load_experiment(name)
    for target in experiment.targets:
        command, out = read_command(experiment, target)
        assert command == stages[target].cmd
        assert all(Path(each.def_path).is_relative_to(out) for each in stages[target].outs)
