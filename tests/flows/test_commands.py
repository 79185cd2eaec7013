"""Every command that works on a finished experiment, as a person types it, on `smoke`.

Those that make one, or serve, are in tests of their own, which OTHERS names.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

from command import line
from diffusevae.core.yaml_file import read_yaml
from diffusevae.stages.names import ON_DEMAND
from tests.support.checkouts import ROOT, SECONDS

OTHERS = {
    "run": "tests/flows/test_pipeline_flow.py",
    "latents": "tests/flows/test_latents_flow.py",
    "tune": "tests/flows/test_tune_flow.py",
    "reproduce": "tests/flows/test_reproducible.py",
    "serve": "tests/flows/test_serving.py",
    "bootstrap": "tests/flows/test_deployments.py",
    "worker": "tests/flows/test_deployments.py",
    "explore": "tests/apps/test_explore.py",
    "dashboard": "tests/apps/test_dashboard.py",
    "mlflow": "tests/tasks/test_tracking_server.py",
    "data": "tests/tasks/test_data_check.py",
    "wheelhouse": "tests/tasks/test_wheelhouse.py",
}
LOOKS = {  # and what they say among other things
    "status smoke": "version 1 is the champion",
    "doctor": "ok     MLflow    mlflow.db, whole",
    "plan smoke": "train_diffusevae@smoke",
    "compare smoke": "version 1 is the champion already",
    "sample smoke --sampler unipc --num-steps 2 --out images.png": "unipc, 2 steps",
    "download mnist": "",
    "send": "nothing is left to send",
    "reference": "docs/reference/params.md",
    "results smoke": "docs/results/smoke/mnist",
    "bench ceilings --repeats 1": "",
}
EXPERIMENTS = {stage: "guided_smoke" if stage == "guide" else "smoke" for stage in ON_DEMAND}
MODELS = ("promote", "rollback", "lift")


@pytest.fixture(scope="module")
def checkout(smoke_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("commands") / "checkout"
    return Path(shutil.copytree(smoke_checkout, copy, symlinks=True))


def say(checkout: Path, words: str) -> str:
    """Run a command of the line there on the checkout's own code; return what it prints."""
    names = ("PREFECT_HOME", "PREFECT_API_URL", "MLFLOW_TRACKING_URI")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-m", "diffusevae", *shlex.split(words)],
        cwd=checkout,
        env=environment | {"PYTHONPATH": str(checkout / "src"), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout[-3000:]}"
    return done.stdout


def test_each_command_is_run_by_a_test():
    commands = set(get_command(line.make_app()).commands)
    here = {words.split()[0] for words in LOOKS} | set(EXPERIMENTS) | set(MODELS)
    assert here | set(OTHERS) == commands and not here & set(OTHERS)
    assert all((ROOT / file).is_file() for file in OTHERS.values())


@pytest.mark.slow
@pytest.mark.parametrize("words", LOOKS)
def test_a_command_does_what_it_says(checkout, words):
    assert LOOKS[words] in say(checkout, words)
    if words.startswith("sample"):
        with Image.open(checkout / "images.png") as picture:
            assert min(picture.size) >= 32


@pytest.mark.slow
@pytest.mark.parametrize("stage", ON_DEMAND)
def test_a_stage_on_demand_is_made_and_published(checkout, stage):
    experiment = EXPERIMENTS[stage]
    assert f"made  artifacts/{experiment}/{stage}" in say(checkout, f"{stage} {experiment}")
    page = checkout / say(checkout, f"results {experiment} {stage}").split()[-1] / "README.md"
    assert f"# {stage} on {experiment}" in page.read_text()
    made = read_yaml(checkout / "dvc.lock")["stages"][f"{stage}@{experiment}"]["outs"]
    assert all((checkout / out["path"]).exists() for out in made)


@pytest.mark.slow
def test_a_person_decides_which_version_is_the_champion_and_gives_it_back(checkout):
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("num_steps: 5\n", "num_steps: 4\n", 1))
    assert "diffusevae-smoke, version 2" in say(checkout, "run smoke")
    assert "smoke-1-against-2.html" in say(checkout, "compare smoke 1 2")
    before = find_champion(checkout)
    other = "1" if before == "2" else "2"
    say(checkout, f"promote smoke --version {other} --reason 'we want it'")
    assert find_champion(checkout) == other
    say(checkout, "rollback smoke")
    assert find_champion(checkout) == before
    say(checkout, "lift smoke")


def find_champion(checkout: Path) -> str:
    """Return the version that `diffusevae status` calls the champion."""
    [version] = re.findall(r"version (\d+) is the champion", say(checkout, "status smoke"))
    return version
