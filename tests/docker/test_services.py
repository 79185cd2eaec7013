"""The team's services as their entry points start them: each real, on this machine's loopback."""

import base64
import hashlib
import json
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import optuna
import psutil
import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from diffusevae.core.errors import EnvironmentFailure
from diffusevae.core.tensor_file import save_tensors
from diffusevae.tracking.mlflow_store import connect, experiment_id
from diffusevae.tracking.recorder_client import Recorder
from diffusevae.tracking.stage_logger import PARENT_VARIABLE, track_stage
from flows.bootstrap import bootstrap
from tasks.parent_run import open_parent_run
from tasks.registry.registration import Registered, find_version, register
from tasks.terminal import run_on_terminal
from tests.support.checkouts import DEPLOYMENTS, ROOT, copy_checkout, wait_for
from tests.support.routes import find_answered, list_bottle
from tests.support.services import DATABASES, Postgres, Service, end, free_port, start
from tests.support.toy_artifacts import make_images, make_metrics, write_models
from tests.support.toy_registry import SAMPLER, TOY
from tests.support.toy_splits import write_split

PASSWORDS = {name: secrets.token_hex(12) for name in ("mlflow", "prefect", "optuna")}
KEYS = {name: secrets.token_hex(12) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
COOKIE_KEY = secrets.token_hex(24)
ROTATED = secrets.token_hex(12)


@dataclass(frozen=True)
class Team:
    """The services of a team, ready."""

    postgres: Postgres
    s3: Service
    mlflow: Service
    prefect: Service
    dashboard: Service


def database_variables(cluster: Postgres) -> dict[str, str]:
    """Return what tells entry points where the cluster is and how to log in."""
    passwords = {f"DATABASE_PASSWORD_{name.upper()}": cluster.passwords[name] for name in DATABASES}
    return passwords | {"DATABASE_ADDRESS": f"127.0.0.1:{cluster.port}"}


def store_variables(s3: Service, bucket: str) -> dict[str, str]:
    return KEYS | {"MLFLOW_S3_ENDPOINT_URL": s3.address, "S3_BUCKET": bucket}


@contextmanager
def start_mlflow(folder: Path, cluster: Postgres, s3: Service, bucket: str, password: str):
    with start(
        folder,
        "/health",
        ROOT / "docker/mlflow.sh",
        WORKERS="1",
        MLFLOW_AUTH_ADMIN_PASSWORD=password,
        MLFLOW_FLASK_SERVER_SECRET_KEY=COOKIE_KEY,
        **database_variables(cluster),
        **store_variables(s3, bucket),
    ) as server:
        yield server


@pytest.fixture(scope="module")
def team(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """All services but the workers, started as compose.yaml starts them."""
    folder = tmp_path_factory.mktemp("team")
    port = free_port()
    databases = database_variables(postgres)
    with ExitStack() as stack:
        s3 = stack.enter_context(
            start(
                folder / "s3",
                "/moto-api/",
                sys.executable,
                "-m",
                "moto.server",
                "-H",
                "127.0.0.1",
                "-p",
                str(port),
                port=port,
            )
        )
        dashboard = stack.enter_context(
            start(
                folder / "dashboard",
                "/health",
                ROOT / "docker/optuna_dashboard.sh",
                OPTUNA_DASHBOARD_PASSWORD=PASSWORDS["optuna"],
                **databases,
            )
        )
        prefect = stack.enter_context(
            start(
                folder / "prefect",
                "/api/ready",
                ROOT / "docker/prefect.sh",
                PREFECT_HOME=str(folder / "prefect"),
                PREFECT_PASSWORD=PASSWORDS["prefect"],
                **databases,
            )
        )
        s3.wait()
        mlflow = stack.enter_context(
            start_mlflow(folder / "mlflow", postgres, s3, "mlflow", PASSWORDS["mlflow"])
        )
        for service in (dashboard, prefect, mlflow):
            service.wait()
        yield Team(postgres, s3, mlflow, prefect, dashboard)


def ask(
    address: str, password: str | None = None, host: str | None = None, origin: str | None = None
) -> int:
    """Return the status of an answer to a request with the login or without."""
    headers = {name: value for name, value in (("Host", host), ("Origin", origin)) if value}
    if password is not None:
        token = base64.b64encode(f"admin:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def is_healthy(address: str) -> bool:
    """Ask as compose.yaml's health checks do."""
    check = [sys.executable, ROOT / "docker/health.py", address]
    return subprocess.run(check, capture_output=True, timeout=30).returncode == 0


def test_each_service_has_a_database_that_only_its_own_login_opens(postgres: Postgres):
    postgres.make_databases()  # again: nothing is lost, nothing is refused
    for name in DATABASES:
        with psycopg.connect(postgres.url(name, "postgresql")) as own:
            own.execute("CREATE TABLE mine (x int)")
            own.execute("DROP TABLE mine")
        for other in set(DATABASES) - {name}:
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                psycopg.connect(postgres.url(name, "postgresql"), dbname=other)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(postgres.url(name, "postgresql"), password="wrong")


def test_a_killed_cluster_starts_again_with_what_was_committed(postgres: Postgres):
    address = postgres.create("killed").replace("+psycopg", "")
    with psycopg.connect(address) as client:
        client.execute("CREATE TABLE kept (x int)")
    with psycopg.connect(address) as client:
        postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")
    postgres.start()
    with psycopg.connect(address) as client:
        assert client.execute("SELECT count(*) FROM kept").fetchone() == (0,)


@pytest.mark.fault("S2")
def test_every_page_asks_for_the_login_and_every_health_check_is_open(team: Team):
    pages = {
        "mlflow": (team.mlflow, "/api/2.0/mlflow/experiments/get?experiment_id=0"),
        "prefect": (team.prefect, "/api/admin/version"),
        "optuna": (team.dashboard, "/api/studies"),
    }
    for name, (service, path) in pages.items():
        assert ask(service.health) == 200 and is_healthy(service.health)
        assert ask(service.address + path) == 401 and not is_healthy(service.address + path)
        assert ask(service.address + path, "wrong") == 401
        assert ask(service.address + path, PASSWORDS[name]) == 200
    assert ask(team.dashboard.address + "/dashboard") == 401
    # Prefect's are copied where its image, whose root is read-only, can write them.
    assert list((team.prefect.log.parent / "ui").rglob("index.html"))


def test_a_stranger_gets_nothing_of_any_route_of_the_dashboard(team: Team):
    from optuna.storages import InMemoryStorage
    from optuna_dashboard._app import create_app

    routes = {*list_bottle(create_app(InMemoryStorage()))}
    assert ("DELETE", "/api/studies/1") in routes
    assert find_answered(team.dashboard.address, routes) == {}


def test_nothing_of_a_stranger_is_read_by_mlflow(team: Team):
    """Whose routes are those of `make mlflow` (tests/tasks/test_tracking_server.py)."""
    routes = [("POST", "/api/2.0/mlflow/runs/create"), ("GET", "/static-files/1"), ("GET", "/")]
    assert find_answered(team.mlflow.address, routes) == {}


@pytest.mark.fault("S6")
def test_mlflow_answers_to_its_own_names_alone(team: Team):
    page = team.mlflow.address + "/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert ask(page, PASSWORDS["mlflow"], "mlflow:5000") == 200  # as workers call it
    assert ask(page, PASSWORDS["mlflow"], "elsewhere.example") == 403
    assert ask(team.mlflow.health, host="elsewhere.example") == 200


@pytest.mark.fault("S6")
def test_no_page_of_another_origin_reaches_a_service(team: Team):
    studies = team.dashboard.address + "/api/studies"
    assert ask(studies, PASSWORDS["optuna"], origin=team.dashboard.address) == 200
    assert ask(studies, PASSWORDS["optuna"], origin="http://elsewhere.example") == 403
    address = team.prefect.address + "/api/admin/version"
    for origin, allowed in (
        ("http://elsewhere.example", None),
        ("http://127.0.0.1:4200",) * 2,
        ("http://localhost:4200",) * 2,
    ):
        answer = httpx.get(
            address, headers={"Origin": origin}, timeout=30, auth=("admin", PASSWORDS["prefect"])
        )
        assert answer.headers.get("access-control-allow-origin") == allowed


@pytest.mark.fault("S4")
def test_no_password_is_in_the_list_of_processes(team: Team):
    listed = " ".join(
        " ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])
    )
    assert "mlflow_server.py" in listed
    passwords = [*PASSWORDS.values(), *team.postgres.passwords.values(), *KEYS.values()]
    assert not [password for password in passwords if password in listed]


@pytest.fixture
def client(team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The pipeline's own client of the MLflow server, in a folder with toy models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PARENT_VARIABLE, raising=False)
    log_in(monkeypatch, team.mlflow, PASSWORDS["mlflow"])
    return connect()


def log_in(monkeypatch: pytest.MonkeyPatch, mlflow: Service, password: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.address)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def record_stage(folder: Path) -> None:
    """Track a stage as the pipeline does, in a process of the recorder's own."""
    data = folder / "data" / "train.bin"
    data.parent.mkdir()
    data.write_bytes(b"pixels")
    with Recorder() as recorder, track_stage("train_vae", "toy", {"seed": 3}, recorder) as log:
        log.epoch({"epoch": 1, "train_loss": 0.5})
        log.epoch({"epoch": 2, "train_loss": 0.25})
        log.dataset(data, "training")
        log.artifact(data)


def register_toy(folder: Path) -> Registered:
    write_models(folder / "artifacts/toy")
    (folder / "params.yaml").write_text(SAMPLER)
    (folder / "constraints.txt").write_text((ROOT / "constraints.txt").read_text())
    (folder / "src").symlink_to(ROOT / "src")
    save_tensors(TOY.output("sample", "pairs.safetensors"), {"real": make_images(4)})
    write_split(TOY.data("prepared", "validation.safetensors"), 4, 0)
    metrics = TOY.output("evaluate", "metrics.json")
    metrics.parent.mkdir(parents=True)
    metrics.write_text(json.dumps(make_metrics()))
    with open_parent_run("toy", "toy_data") as parent, disable_run_logger():
        return register.fn(TOY, parent.id)


def snapshot(client) -> dict:
    """Return all that the server knows of runs, versions and the bytes of their files."""
    import mlflow

    runs = {}
    for run in client.search_runs([experiment_id(client, "toy")]):
        losses = client.get_metric_history(run.info.run_id, "train_loss")
        files = {
            file.path: digest(client.download_artifacts(run.info.run_id, file.path))
            for file in client.list_artifacts(run.info.run_id)
        }
        runs[run.info.run_id] = (
            run.info.status,
            run.data.params,
            run.data.metrics,
            run.data.tags,
            [(m.step, m.value) for m in losses],
            files,
        )
    versions = {}
    for version in client.search_model_versions("name = 'diffusevae-toy'"):
        address = f"models:/{version.name}/{version.version}/artifacts"
        folder = Path(mlflow.artifacts.download_artifacts(address))
        files = {
            str(path.relative_to(folder)): digest(path) for path in folder.glob("*.safetensors")
        }
        versions[str(version.version)] = (version.tags, version.description, files)
    return {"runs": runs, "versions": versions}


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_stage_and_a_model_version_go_through_the_login_to_database_and_bucket(
    team: Team, client, tmp_path: Path, capfd
):
    record_stage(tmp_path)
    registered = register_toy(tmp_path)
    assert "warning" not in capfd.readouterr().err
    assert find_version(TOY) == registered and registered.version == "1"
    found = snapshot(client)
    stage, pipeline = sorted(found["runs"].values(), key=lambda run: "stage" not in run[3])
    assert stage[0] == "FINISHED" and stage[1] == {"seed": "3"}
    assert stage[4] == [(1, 0.5), (2, 0.25)]
    assert stage[5] == {"train.bin": hashlib.sha256(b"pixels").hexdigest()}
    assert pipeline[0] == "FINISHED" and pipeline[1]["experiment"] == "toy"
    [(_, _, files)] = found["versions"].values()
    assert digest(TOY.output("train_vae", "model.safetensors")) in files.values()
    # The files are in the bucket, whose keys this process does not have.
    s3 = boto3.client(
        "s3",
        endpoint_url=team.s3.address,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket="mlflow")["Contents"]]
    assert sum(key.endswith("train.bin") for key in keys) == 1
    assert sum(key.endswith("vae.safetensors") for key in keys) >= 1


def test_a_wrong_password_and_a_server_that_is_away_get_one_line(
    team: Team, client, tmp_path: Path, monkeypatch, capfd
):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    record_stage(tmp_path)
    refused, kept = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert "MLflow says: the login is refused; set MLFLOW_TRACKING_PASSWORD" in refused
    assert "what MLflow did not take is kept in scratch/unsent" in kept
    with pytest.raises(EnvironmentFailure, match="set MLFLOW_TRACKING_PASSWORD") as failure:
        with open_parent_run("toy", "toy_data"):
            pass
    assert "\n" not in str(failure.value) and team.mlflow.address in str(failure.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(EnvironmentFailure, match="does not answer") as away:
        with open_parent_run("toy", "toy_data"):
            pass
    assert "\n" not in str(away.value)


def test_searches_are_seen_on_the_dashboard(team: Team):
    study = optuna.create_study(study_name="seen", storage=team.postgres.url("optuna"))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    token = base64.b64encode(f"admin:{PASSWORDS['optuna']}".encode()).decode()
    request = urllib.request.Request(
        team.dashboard.address + "/api/studies", headers={"Authorization": f"Basic {token}"}
    )
    assert b'"seen"' in urllib.request.urlopen(request, timeout=30).read()


def test_a_slot_of_prefect_s_outlasts_its_restart(team: Team):
    """Else the server would take it from its run, which crashes."""
    address, login = f"{team.prefect.address}/api/v2/concurrency_limits", PASSWORDS["prefect"]
    with httpx.Client(base_url=address, auth=("admin", login), timeout=60) as client:
        client.post("/", json={"name": "slots", "limit": 1}).raise_for_status()
        asked = {"names": ["slots"], "slots": 1, "mode": "concurrency", "lease_duration": 300}
        lease = client.post("/increment-with-lease", json=asked).raise_for_status().json()
    kept = team.prefect.log.parent / f"concurrency_leases/{lease['lease_id']}.json"
    assert kept.exists()


def test_a_wrong_password_for_prefect_gets_one_line(team: Team, monkeypatch, capsys):
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the tests keep their own
    with temporary_settings(
        {PREFECT_API_URL: f"{team.prefect.address}/api", PREFECT_API_AUTH_STRING: "admin:wrong"}
    ):
        assert run_on_terminal(bootstrap) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert "the login is refused; set PREFECT_API_AUTH_STRING" in line


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with all its files committed, as the worker's image holds it."""
    folder = copy_checkout(tmp_path_factory.mktemp("repository"))
    commit(folder, "first")
    return folder / ".git"


def commit(folder: Path, message: str) -> None:
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    subprocess.run(
        [
            "git",
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@localhost",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            message,
        ],
        cwd=folder,
        check=True,
    )


def test_a_worker_joins_in_a_checkout_of_its_own_and_takes_new_code(
    team: Team, repository: Path, tmp_path: Path
):
    checkout = tmp_path / "checkout"
    variables = database_variables(team.postgres) | {
        "PREFECT_API_URL": f"{team.prefect.address}/api",
        "PREFECT_PASSWORD": PASSWORDS["prefect"],
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "MLFLOW_TRACKING_URI": team.mlflow.address,
        "MLFLOW_TRACKING_PASSWORD": PASSWORDS["mlflow"],
        "REPOSITORY": str(repository),
        "CHECKOUT": str(checkout),
        "DVC_REMOTE": str(tmp_path / "remote"),
    }
    script = ROOT / "docker/worker.sh"
    with start(tmp_path / "bootstrap", "", script, "bootstrap", **variables) as once:
        assert once.process.wait(120) == 0, once.log.read_text()
    (checkout / "scratch").mkdir(exist_ok=True)
    (checkout / "scratch/kept").touch()
    (checkout / "dvc.lock").write_text("an older run's\n")
    commit(repository.parent, "second")
    with temporary_settings(
        {
            PREFECT_API_URL: variables["PREFECT_API_URL"],
            PREFECT_API_AUTH_STRING: f"admin:{PASSWORDS['prefect']}",
        }
    ):
        with (
            get_client(sync_client=True) as prefect,
            start(tmp_path / "worker", "", script, "cpu", **variables) as worker,
        ):
            assert len(prefect.read_deployments()) == len(DEPLOYMENTS)
            wait_for(lambda: worker_is_there(worker, checkout), "a worker")
            assert end(worker.process) < 15, worker.log.read_text()
    head = ["git", "rev-parse", "HEAD"]
    assert subprocess.check_output(head, cwd=checkout) == subprocess.check_output(
        head, cwd=repository.parent
    )
    assert (checkout / "scratch/kept").exists()
    assert (checkout / "dvc.lock").read_text() == (ROOT / "dvc.lock").read_text()
    assert str(tmp_path / "remote") in (checkout / ".dvc/config.local").read_text()
    holding = ["flock", "--nonblock", checkout / "scratch/worker.lock", "true"]
    assert subprocess.run(holding).returncode == 0  # so the health check fails, as it should


def worker_is_there(worker: Service, checkout: Path) -> bool:
    """Return whether it has started, and is healthy by compose.yaml's check."""
    assert worker.process.poll() is None, worker.log.read_text()
    lock = checkout / "scratch/worker.lock"
    held = lock.exists() and subprocess.run(["flock", "--nonblock", lock, "true"]).returncode == 1
    return held and "started!" in worker.log.read_text()


def test_a_backup_restored_elsewhere_is_all_that_there_was_with_new_passwords(
    team: Team, client, tmp_path: Path, monkeypatch
):
    before = snapshot(client)
    assert len(before["runs"]) >= 2 and before["versions"]
    backup = tmp_path / "backup.tar"
    with open(backup, "wb") as file:
        subprocess.run(
            [ROOT / "docker/backup.sh"],
            stdout=file,
            check=True,
            timeout=600,
            env=team.postgres.client_variables() | store_variables(team.s3, "mlflow"),
        )
    other = Postgres()  # with other passwords: a rotation at once
    try:
        for _ in range(2):  # the second time onto what is there
            variables = other.client_variables() | database_variables(other)
            with open(backup, "rb") as file:
                subprocess.run(
                    [ROOT / "docker/restore.sh"],
                    stdin=file,
                    check=True,
                    timeout=600,
                    env=variables | store_variables(team.s3, "restored"),
                )
        for name, table in (("prefect", "deployment"), ("optuna", "trials")):
            rows = []
            for cluster in (team.postgres, other):
                with psycopg.connect(cluster.url(name, "postgresql")) as database:
                    rows.append(database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall())
            assert rows[0] == rows[1] and rows[0], name
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(other.url("optuna", "postgresql"), dbname="mlflow")
        with start_mlflow(tmp_path / "mlflow", other, team.s3, "restored", ROTATED) as new:
            new.wait()
            page = new.address + "/api/2.0/mlflow/experiments/get?experiment_id=0"
            assert ask(page, PASSWORDS["mlflow"]) == 401 and ask(page, ROTATED) == 200
            log_in(monkeypatch, new, ROTATED)
            assert snapshot(connect()) == before
            assert end(new.process) < 15
    finally:
        other.remove()


def test_a_database_or_a_store_that_is_away_ends_mlflow_with_one_line(team: Team, tmp_path: Path):
    away = f"127.0.0.1:{free_port()}"
    variables = (
        database_variables(team.postgres)
        | store_variables(team.s3, "mlflow")
        | {"MLFLOW_AUTH_ADMIN_PASSWORD": ROTATED, "MLFLOW_FLASK_SERVER_SECRET_KEY": COOKIE_KEY}
    )
    for changed, said in (
        ({"DATABASE_ADDRESS": away}, "MLflow's databases: "),
        ({"MLFLOW_S3_ENDPOINT_URL": f"http://{away}"}, "bucket mlflow at "),
    ):
        with start(
            tmp_path / said[:6], "", ROOT / "docker/mlflow.sh", **variables | changed
        ) as server:
            assert server.process.wait(60) == 3
            [line] = [line for line in server.log.read_text().splitlines() if "rror" in line]
            assert line.startswith(f"error: {said}") and away.split(":")[1] in line
