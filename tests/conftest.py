"""What several test modules share: a checkout of its own in which the pipeline ran on `smoke`.

No test touches the user's Prefect, MLflow or DVC: their folders lie in ./scratch/tests or in
pytest's temporary folders, and a server that a test starts is ended by it.
"""

import importlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkouts import (
    CANARY,
    LOGIN,
    ROOT,
    SmokeRun,
    Watch,
    copy_checkout,
    run_pipeline,
)

# A shell without job control lets its background processes ignore these, and their children with
# them; the tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
for signum in (signal.SIGQUIT, signal.SIGHUP):
    signal.signal(signum, signal.SIG_DFL)
# Set before Prefect is imported anywhere.
for name in (
    "PREFECT_API_URL",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_RUN_ID",
    "DIFFUSEVAE_PARENT_RUN",
    "DIFFUSEVAE_OPTUNA_STORAGE",
    "DIFFUSEVAE_PROCESSES",
    "DVC_STAGE",
):
    os.environ.pop(name, None)
# What one process has compiled the others read: hundreds of them import the same modules.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["OMP_NUM_THREADS"] = "1"  # workers of one machine: two threads each slow each other down
os.environ["PREFECT_HOME"] = str(
    ROOT / "scratch/tests/prefect" / os.environ.get("PYTEST_XDIST_WORKER", "alone")
)
os.environ["PREFECT_API_AUTH_STRING"] = LOGIN
importlib.import_module("flows")  # sets what else Prefect should do by default
pytest_plugins = ["tests.support.services", "tests.support.fault_table", "tests.support.pages"]


def share_of(nodeid: str) -> str:
    """Return what goes to one process where several share the tests: a module, but those of the
    finished smoke run, which is made once, together.
    """
    path = nodeid.partition("::")[0]
    return "smoke" if "smoke_" in (ROOT / path).read_text() else path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, so that no process waits for another at the end; skip what needs a
    mirror where there is none.
    """
    longest = ["smoke", "tests/docker/test_services.py", "tests/flows/test_other_data.py"]

    def place(item: pytest.Item) -> int:
        share = share_of(item.nodeid)
        return longest.index(share) if share in longest else len(longest)

    items.sort(key=place)
    if not os.environ.get("DIFFUSEVAE_MIRROR"):
        alone = pytest.mark.skip(
            reason="DIFFUSEVAE_MIRROR is not set, and no package registry has "
            "CIFAR-10, true dSprites, LPIPS's example images"
        )
        for item in items:
            if item.get_closest_marker("mirror"):
                item.add_marker(alone)


def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Give the processes whole shares."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return share_of(nodeid)

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def own_store() -> Iterator[None]:
    """Undo what the code sets in the environment, so that each test has its own MLflow store."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store without runs; making its tables takes seconds, copying it does not."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The client of an empty store in the test's folder, in which the test then works."""
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow").mkdir()
    shutil.copy(empty_store, tmp_path / "mlflow/mlflow.db")
    address = f"sqlite:///{tmp_path / 'mlflow/mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return MlflowClient(address)


@pytest.fixture
def store(mlflow_store, tmp_path: Path):
    """An empty MLflow store, in a folder with the outputs of an experiment of untrained models."""
    from tests.support.toy_registry import write_toy

    write_toy(tmp_path)
    return mlflow_store


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """Yield the API address of a Prefect server of the tests' own."""
    from prefect.logging.handlers import APILogWorker

    from flows.prefect_server import TemporaryServer

    server = TemporaryServer(login=LOGIN)
    try:
        yield server.wait()
    finally:
        APILogWorker.drain_all(timeout=5)  # what the tests' own flows still have to send
        server.stop()


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> SmokeRun:
    """Return a finished run of the flow on `smoke`, in a checkout of its own."""
    from tests.support.real_data import raw_folder

    checkout = copy_checkout(tmp_path_factory.mktemp("smoke"))
    for source in ("mnist", "alexnet"):
        raw_folder(source)  # fills scratch/downloads, from where the copy takes them
    shutil.copytree(ROOT / "scratch/downloads", checkout / "scratch/downloads")
    origin = f"https://user:{CANARY}@127.0.0.1:9/diffusevae.git"
    subprocess.run(["git", "remote", "add", "origin", origin], cwd=checkout, check=True)
    with Watch() as seen:
        done = run_pipeline(
            checkout,
            "smoke",
            PREFECT_API_URL=prefect_server,
            MLFLOW_TRACKING_USERNAME="admin",
            MLFLOW_TRACKING_PASSWORD=CANARY,
        )
    subprocess.run(["git", "remote", "remove", "origin"], cwd=checkout, check=True)
    assert done.returncode == 0, done.stdout[-3000:]
    return SmokeRun(
        checkout, prefect_server, done.stdout, frozenset(seen.commands), frozenset(seen.listeners)
    )


@pytest.fixture(scope="session")
def smoke_checkout(smoke_run: SmokeRun) -> Path:
    """Return a checkout in which the pipeline ran on `smoke`; leave it as you found it."""
    return smoke_run.checkout
