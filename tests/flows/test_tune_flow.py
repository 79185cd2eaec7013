"""`diffusevae tune` in two checkouts: one study, each trial made by one of them."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow  # two minutes; test_shared_study has what can go wrong


def start(checkout: Path, address: str, prefect_server: str) -> subprocess.Popen:
    variables = {
        "PYTHONPATH": str(checkout / "src"),
        "PREFECT_API_URL": prefect_server,
        "DIFFUSEVAE_OPTUNA_STORAGE": address,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "diffusevae", "tune", "smoke"],
        cwd=checkout,
        text=True,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.fixture(scope="module")
def checkouts(smoke_checkout, prefect_server, postgres, tmp_path_factory) -> list[Path]:
    """Two checkouts after both took part in studies of four trials each instead of two."""
    made = []
    for name in ("first", "second"):
        made.append(tmp_path_factory.mktemp(name) / "checkout")
        shutil.copytree(smoke_checkout, made[-1], symlinks=True)
        params = made[-1] / "params.yaml"
        text = params.read_text()
        assert text.count("n_trials: 2\n") == 1  # tune_ddpm takes it over from tune_vae
        params.write_text(text.replace("n_trials: 2\n", "n_trials: 4\n"))
        (made[-1] / "mlflow/mlflow.db").unlink()
    address = postgres.create("tune_flow").replace("+psycopg", "")
    processes = [start(checkout, address, prefect_server) for checkout in made]
    for process in processes:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said[-3000:]
    return made


def trial_runs(checkout: Path) -> list[str]:
    with sqlite3.connect(checkout / "mlflow/mlflow.db") as database:
        rows = database.execute("SELECT name FROM runs WHERE name LIKE 'trial %'").fetchall()
    return [name for (name,) in rows]


def test_both_end_with_the_same_result_of_all_trials(checkouts):
    for stage in ("tune_vae", "tune_ddpm"):
        folders = [checkout / "artifacts/smoke" / stage for checkout in checkouts]
        for name in ("best.yaml", "trials.csv", "importances.csv"):
            assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
        assert pd.read_csv(folders[0] / "trials.csv").number.tolist() == [0, 1, 2, 3]


def test_each_trial_was_made_by_one_of_them(checkouts):
    made = Counter(run for checkout in checkouts for run in trial_runs(checkout))
    assert made == {f"trial {slot}": 2 for slot in range(4)}  # one of each study
