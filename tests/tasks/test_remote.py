"""Two machines that share DVC's remote: what one made, the other takes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diffusevae.core.yaml_file import read_yaml
from tests.support.checkouts import copy_checkout, run_pipeline

pytestmark = pytest.mark.slow  # three runs of the pipeline


def dvc(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=checkout,
        text=True,
        capture_output=True,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def machines(smoke_checkout, prefect_server, tmp_path_factory) -> tuple[Path, Path, str]:
    """The first machine after a run that drew other figures; a second with its lock; what it said.

    Each has its own cache, and the same remote.
    """
    first = tmp_path_factory.mktemp("first") / "checkout"
    shutil.copytree(smoke_checkout, first, symlinks=True)
    remote = tmp_path_factory.mktemp("remote")
    dvc(first, "remote", "add", "--local", "--default", "store", str(remote))
    params = (first / "params.yaml").read_text()
    (first / "params.yaml").write_text(params.replace("num_images: 10  ", "num_images: 8  "))
    done = run_pipeline(first, "smoke", PREFECT_API_URL=prefect_server)
    assert done.returncode == 0, done.stdout[-3000:]
    second = copy_checkout(tmp_path_factory.mktemp("second"))
    for name in ("params.yaml", "dvc.lock", ".dvc/config.local"):
        shutil.copy(first / name, second / name)
    done = run_pipeline(second, "smoke", PREFECT_API_URL=prefect_server)
    assert done.returncode == 0, done.stdout[-3000:]
    return first, second, done.stdout


def test_a_second_machine_takes_every_result_and_runs_nothing(machines):
    first, second, said = machines
    assert "Running stage" not in said
    for path in sorted((first / "artifacts/smoke").rglob("*")):
        if path.is_file():
            there = second / path.relative_to(first)
            assert there.read_bytes() == path.read_bytes(), path
    assert (second / "dvc.lock").read_bytes() == (first / "dvc.lock").read_bytes()


def test_a_machine_whose_lock_is_older_takes_every_result_too(machines, prefect_server, tmp_path):
    """By the run cache, which names what the same code made of the same data and params."""
    first, _, _ = machines
    third = copy_checkout(tmp_path)
    for name in ("params.yaml", ".dvc/config.local"):
        shutil.copy(first / name, third / name)
    assert (third / "dvc.lock").read_bytes() != (first / "dvc.lock").read_bytes()
    done = run_pipeline(third, "smoke", PREFECT_API_URL=prefect_server)
    assert done.returncode == 0 and "Running stage" not in done.stdout, done.stdout[-3000:]
    stages = [read_yaml(each / "dvc.lock")["stages"] for each in (first, third)]
    assert stages[0]["report@smoke"] == stages[1]["report@smoke"]


def test_the_second_machine_registers_what_it_took(machines):
    _, second, said = machines
    assert "registered diffusevae-smoke version 1" in said
    assert (second / "reports/smoke-rerun.html").is_file()


def test_the_rerun_s_page_names_what_changed_and_what_ran(machines):
    first, _, _ = machines
    page = (first / "reports/smoke-rerun.html").read_text()
    assert "experiments.smoke.figures.num_images: 10 -&gt; 8" in page
    assert page.count('data-label="What happened">ran</td>') == 2  # figures and report
    metrics = json.loads((first / "artifacts/smoke/evaluate/metrics.json").read_text())
    assert metrics["num_images"] == 128


def test_a_remote_that_is_away_costs_no_work(machines, prefect_server):
    first, _, _ = machines
    dvc(first, "remote", "modify", "--local", "store", "url", "ssh://127.0.0.1:1/nowhere")
    done = run_pipeline(first, "smoke", PREFECT_API_URL=prefect_server)
    assert done.returncode == 0 and "nothing changed" in done.stdout
    assert "going on with what is here" in done.stdout
