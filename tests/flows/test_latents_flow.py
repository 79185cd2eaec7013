"""`diffusevae latents` as a user runs it: every stage at its smallest, page and registry."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from diffusevae.latents.page.chapter import read_chapter
from diffusevae.stages.names import LATENTS
from tests.support.real_data import raw_folder

STUDY = "latents_smoke"
SCRATCH = Path(__file__).parents[2] / "scratch"


@pytest.fixture(scope="module")
def checkout(smoke_checkout, tmp_path_factory) -> Path:
    """A copy of the checkout in which `smoke` has run, with the downloads that the studies need."""
    copy = tmp_path_factory.mktemp("latents") / "checkout"
    shutil.copytree(smoke_checkout, copy, symlinks=True)
    for source in ("fashion_mnist", "raman", "nuclei"):
        raw_folder(source)
        shutil.copytree(
            SCRATCH / "downloads" / source, copy / "scratch/downloads" / source, dirs_exist_ok=True
        )
    return copy


def run_flow(checkout: Path, prefect_server: str, study: str = STUDY):
    return subprocess.run(
        [sys.executable, "-m", "diffusevae", "latents", study],
        cwd=checkout,
        text=True,
        env=os.environ | {"PYTHONPATH": str(checkout / "src"), "PREFECT_API_URL": prefect_server},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_one_command_makes_the_page_and_the_model_and_then_finds_nothing_to_do(
    checkout, prefect_server
):
    done = run_flow(checkout, prefect_server)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Running stage 'sample@smoke'" not in done.stdout  # what smoke has made is not redone
    folders = {stage: checkout / "artifacts" / STUDY / stage for stage in LATENTS}
    page = (checkout / f"reports/{STUDY}.html").read_text()
    assert re.search(rf"report +{checkout}/reports/{STUDY}.html", done.stdout)
    chapters = {stage: read_chapter(folders[stage]) for stage in LATENTS[:-1]}
    for found in chapters.values():
        assert f">{found.title}</h2>" in page
    client = MlflowClient(f"sqlite:///{checkout / 'mlflow/mlflow.db'}")
    [experiment] = [one for one in client.search_experiments() if one.name == STUDY]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(LATENTS) <= set(runs) and all(run.info.status == "FINISHED" for run in runs.values())
    headline = next(one for one in chapters["spectra"].headlines)
    parents = [run for run in runs.values() if "mlflow.parentRunId" not in run.data.tags]
    assert headline.value in parents[0].data.metrics.values()
    [version] = client.search_model_versions(f"name = 'latents-{STUDY}'")
    assert str(version.version) == "1"

    again = run_flow(checkout, prefect_server)
    assert again.returncode == 0, again.stdout[-3000:]
    assert f"nothing changed: every stage of '{STUDY}' is up to date" in again.stdout
    assert len(client.search_model_versions(f"name = 'latents-{STUDY}'")) == 1


def test_a_study_that_there_is_not_is_one_clear_line(checkout, prefect_server):
    done = run_flow(checkout, prefect_server, "latent_smoke")
    assert done.returncode == 2
    assert (
        done.stdout.strip()
        .splitlines()[-1]
        .endswith("there is no 'latent_smoke'; did you mean 'latents_smoke'?")
    )
