"""The promise of `dvc repro --force`: on the same machine, the same bytes."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.checkouts import SmokeRun


def force_all(checkout: Path) -> subprocess.CompletedProcess:
    """Run every stage of `smoke` again with DVC alone."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(checkout / "src"),
        "MLFLOW_TRACKING_URI": "",
    }
    return subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--force", "report@smoke"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )


def test_a_forced_rerun_leaves_the_lock_unchanged_to_the_byte(smoke_run: SmokeRun):
    lock = smoke_run.checkout / "dvc.lock"
    before = lock.read_bytes()
    done = force_all(smoke_run.checkout)
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count("Running stage") == 13  # 12 stages, download twice
    assert lock.read_bytes() == before, done.stdout[-3000:]
