"""The team's services in real containers: built, healthy, confined, restarted.

Needs root, podman, buildah, runc, podman-compose, catatonit and debootstrap of Debian; for the
builds a registry of Python packages and Debian's archive. docs/operations.md says what of
compose.yaml this does not show.
"""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.checkouts import ROOT
from tests.support.containers import HERE, STAND_INS, TARGETS, Engine, find_missing

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(bool(find_missing()), reason=f"without {', '.join(find_missing())}"),
]
SERVERS = ("mlflow", "prefect", "optuna-dashboard")
USERS = {"postgres": "999:999", "s3": "1000:1000"} | dict.fromkeys(SERVERS, "10001:10001")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """All images built; nothing of it runs when the tests have ended."""
    folder = tmp_path_factory.mktemp("containers")
    made = Engine(folder)
    made.make_base(folder)
    for target, image in STAND_INS.items():
        [tag] = {
            line.split(":")[2].partition("@")[0]
            for line in (ROOT / "compose.yaml").read_text().splitlines()
            if f"image: {image.removeprefix('docker.io/').removeprefix('library/')}:" in line
        }
        made.build(HERE, (HERE / "Dockerfile").read_text(), target, f"{image}:{tag}")
    for target, name in TARGETS.items():
        text = (made.clone / "docker/Dockerfile").read_text()
        made.build(made.clone, text, target, f"diffusevae-{name}:0.1.0")
    try:
        yield made
    finally:
        made.compose("down", "--volumes")


@pytest.fixture(scope="module")
def services(engine: Engine) -> dict[str, dict]:
    """The five servers, each healthy; what podman says of each container."""
    for together in (("postgres", "s3"), SERVERS):
        engine.compose("up", "--detach", *together)
        for service in together:
            engine.wait(service)
    return {name: inspect(engine, name) for name in USERS}


def inspect(engine: Engine, service: str) -> dict:
    return json.loads(engine.run("podman", "inspect", engine.name(service)))[0]


def test_every_target_is_an_image_whose_user_is_not_root(engine: Engine):
    for name in TARGETS.values():
        [image] = json.loads(
            engine.run("podman", "image", "inspect", f"localhost/diffusevae-{name}:0.1.0")
        )
        assert image["Config"]["User"] == "10001:10001"


def test_every_service_is_confined(engine: Engine, services: dict[str, dict]):
    for name, found in services.items():
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"] and host["SecurityOpt"] == ["no-new-privileges"]
        assert not found["EffectiveCaps"] and not found["BoundingCaps"]
        assert found["Config"]["User"] == USERS[name] and host["Init"]
        published = [each for port in (host["PortBindings"] or {}).values() for each in port]
        assert {each["HostIp"] for each in published} <= {"127.0.0.1"}
        assert bool(published) == (name in SERVERS)
        command = ["podman", "exec", engine.name(name), "touch", "/x"]
        done = subprocess.run(command, env=engine.environment, capture_output=True, text=True)
        assert done.returncode != 0 and "Read-only file system" in done.stderr


def test_each_service_comes_back_after_a_restart(engine: Engine, services: dict[str, dict]):
    for name in services:
        engine.run("podman", "restart", "--time", "20", engine.name(name))
        if name == "s3":  # the stand-in forgets its bucket, which MLflow's start makes
            engine.run("podman", "restart", "--time", "20", engine.name("mlflow"))
    for name in services:
        engine.wait(name)
