"""The team's services in real containers: built, healthy, confined, at work, restarted, restored.

Needs root and of Debian podman, netavark, aardvark-dns, iptables, buildah, runc, catatonit and
debootstrap, and podman-compose; for the builds a registry of Python packages and Debian's archive.
docs/operations.md says what of compose.yaml this does not show.
"""

import json
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from ruamel.yaml import YAML

from diffusevae.experiments.experiment import load_experiment
from tests.support.checkouts import ROOT, wait_for
from tests.support.containers import PROJECT, TARGETS, Engine, find_missing
from tests.support.team import DONE, HANG, SERVERS, STORES, Team, in_order

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(bool(find_missing()), reason=f"without {', '.join(find_missing())}"),
]
USERS = {"postgres": "999:999", "s3": "1000:1000"} | dict.fromkeys(
    (*SERVERS, "worker-cpu"), "10001:10001"
)
STAGES = load_experiment("smoke").targets
# Which service is restarted once which stage has begun; the next does not wait for its health.
RESTARTS = {
    "train_classifier@mnist_tiny": "postgres",
    "tune_vae@smoke": "mlflow",
    "train_vae@smoke": "prefect",
    "train_ddpm@smoke": "s3",
    "sample@smoke": "optuna-dashboard",
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """All images built; nothing of it runs when the tests have ended."""
    folder = tmp_path_factory.mktemp("containers")
    made = Engine(folder)
    made.wipe()
    made.build_all(folder)
    try:
        yield made
    finally:
        made.wipe()


@pytest.fixture(scope="module")
def team(engine: Engine) -> Team:
    """The five servers and a worker, each healthy."""
    made = Team(engine)
    made.start()
    made.bring_downloads()
    return made


@pytest.fixture(scope="module")
def run(team: Team) -> str:
    """A finished run on a worker, during which each service was restarted."""
    started = team.run_smoke()
    for stage, service in RESTARTS.items():
        wait_for(lambda name=stage: name in dict(team.list_stages(started)), stage, HANG)
        team.engine.run("podman", "restart", "--time", "60", team.engine.name(service))
        assert team.read_state(started) not in DONE, f"{service} was restarted too late"
    team.finish(started)
    return started


def test_every_target_is_an_image_whose_user_is_not_root(engine: Engine):
    for name in TARGETS.values():
        [image] = json.loads(
            engine.run("podman", "image", "inspect", f"localhost/diffusevae-{name}:0.1.0")
        )
        assert image["Config"]["User"] == "10001:10001"


def test_every_service_is_confined(team: Team):
    for name, user in USERS.items():
        found = team.engine.inspect(name)
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"] and host["SecurityOpt"] == ["no-new-privileges"]
        assert not found["EffectiveCaps"] and not found["BoundingCaps"]
        assert found["Config"]["User"] == user and host["Init"]
        published = [each for port in (host["PortBindings"] or {}).values() for each in port]
        assert {each["HostIp"] for each in published} <= {"127.0.0.1"}
        assert bool(published) == (name in SERVERS)
        command = ["podman", "exec", team.engine.name(name), "touch", "/x"]
        done = subprocess.run(command, env=team.engine.environment, capture_output=True, text=True)
        assert done.returncode != 0 and "Read-only file system" in done.stderr


def test_every_page_is_there_for_those_who_log_in(team: Team):
    settings = team.engine.settings
    for server in ("MLFLOW", "PREFECT", "OPTUNA_DASHBOARD"):
        address = f"http://127.0.0.1:{settings[server + '_PORT']}/"
        login = ("admin", settings[server + "_PASSWORD"])
        answer = requests.get(address, auth=login, timeout=60)
        assert answer.ok and "<html" in answer.text.lower(), address
        if server != "PREFECT":  # whose page asks for the login itself
            assert requests.get(address, timeout=60).status_code == 401


def test_servers_are_reached_through_loopback_alone(team: Team):
    ports = [int(value) for name, value in team.engine.settings.items() if name.endswith("_PORT")]
    addresses = {
        address.address
        for given in psutil.net_if_addrs().values()
        for address in given
        if address.family == socket.AF_INET
    }
    for port in ports:
        for address in addresses:
            with socket.socket() as client:
                client.settimeout(5)
                reached = client.connect_ex((address, port)) == 0
            assert reached == address.startswith("127."), (address, port)


def test_a_run_goes_on_while_each_service_restarts(team: Team, run: str):
    assert team.list_stages(run) == [
        (stage, "COMPLETED") for stage in (*STAGES, "publish", "register", "gate")
    ]
    log = team.read_log(run)
    assert all(f"{stage}" in log for stage in STAGES)


def test_nothing_of_the_run_is_lost_or_double(team: Team, run: str):
    recorded = team.list_runs()
    assert {each["info"]["status"] for each in recorded} == {"FINISHED"}
    [pipeline] = [each for each in recorded if each["info"]["run_name"] == "pipeline"]
    parents = [
        tag["value"]
        for each in recorded
        for tag in each["data"]["tags"]
        if tag["key"] == "mlflow.parentRunId"
    ]
    names = Counter(each["info"]["run_name"] for each in recorded)
    expected = Counter(stage.partition("@")[0] for stage in STAGES)
    trials = {name: names[name] for name in names if name.startswith("trial ")}
    assert names == expected | {"pipeline": 1} | trials
    assert parents.count(pipeline["info"]["run_id"]) == len(STAGES)
    settings = YAML(typ="safe").load(ROOT / "params.yaml")["experiments"]["smoke"]
    wanted = sum(settings[name]["n_trials"] for name in ("tune_vae", "tune_ddpm"))
    assert sum(trials.values()) == wanted == len(team.list_trials())
    assert {each.split("|")[2] for each in team.list_trials()} <= {"COMPLETE", "PRUNED"}
    [training] = [each for each in recorded if each["info"]["run_name"] == "train_vae"]
    epochs = [each["step"] for each in team.read_metric(training, "train_loss")]
    assert epochs == list(range(1, settings["train_vae"]["epochs"] + 1))
    versions = [(each["name"], each["version"]) for each in team.list_versions()]
    assert sorted(versions) == [("diffusevae-smoke", "1"), ("diffusevae-smoke-champions", "1")]
    names = Counter(Path(each).name for each in team.hash_objects())
    assert names["smoke.html"] == names["smoke-rerun.html"] == names["vae.safetensors"] == 1


def test_a_backup_brings_all_back_after_a_wipe_with_new_passwords(team: Team, run: str):
    engine, before = team.engine, team.see_all()
    backup, remote = team.save()
    old = engine.settings
    engine.wipe()
    left = engine.run("podman", "volume", "ls", "--quiet") + engine.run("podman", "ps", "--all")
    assert PROJECT not in left
    engine.set_passwords()
    team.start(*STORES)
    team.restore(backup, remote)
    team.start()
    assert team.see_all() == before
    for server, path in (("MLFLOW", "api/2.0/mlflow/experiments/get"), ("PREFECT", "api/version")):
        address = f"http://127.0.0.1:{old[server + '_PORT']}/{path}"
        login = ("admin", old[server + "_PASSWORD"])
        assert requests.get(address, auth=login, timeout=60).status_code == 401
    again = team.run_smoke()  # in a new checkout: what is there is found again, and nothing doubled
    team.finish(again)
    assert [name for name, _ in team.list_stages(again)][: len(STAGES)] == STAGES
    assert "version 1 holds these models already" in team.read_log(again)
    assert len(team.list_versions()) == len(before["versions"])
    assert in_order(team.list_trials()) == before["trials"]
