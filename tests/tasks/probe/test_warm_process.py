"""Stages forked from a process that has imported everything."""

import os
from pathlib import Path

import pytest

from diffusevae.core.errors import InputError
from tasks.probe.trial_checkout import make_folder, make_variables
from tasks.probe.warm_process import WarmProcess
from tests.support.checkouts import ROOT


@pytest.fixture(scope="module")
def stages():
    before = Path.cwd()
    os.chdir(ROOT)
    with WarmProcess(make_variables()) as process:
        yield process
    os.chdir(before)


def test_a_stage_runs_where_it_is_told_to_and_is_measured(stages, tmp_path, monkeypatch):
    """Raman's spectra come with the code."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "checkout"
    make_folder(folder)
    command = "exec python -m diffusevae.stages download raman --out data/raw/raman"
    seconds, memory, recorded = stages.run(folder, "download@raman", command)
    assert 0 < seconds and stages.start_seconds > 0 and memory > 1e8 and recorded == 0
    assert list((folder / "data/raw/raman").iterdir())
    assert not (folder / "mlflow").exists()


def test_what_a_stage_says_of_its_failure_is_raised_and_the_next_one_runs(stages, tmp_path):
    command = "exec python -m diffusevae.stages download nothing --out out"
    for _ in range(2):
        with pytest.raises(InputError, match="^download nothing: no such asset"):
            stages.run(tmp_path, "download@nothing", command)
