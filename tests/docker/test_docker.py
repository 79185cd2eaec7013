"""The images and compose.yaml, checked as text: no container engine is needed, nor the network."""

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows.bootstrap import POOLS
from tests.support.checkouts import CANARY, ROOT

COMPOSE = YAML(typ="safe").load(ROOT / "compose.yaml")
SERVICES = COMPOSE["services"]
BUILT = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
SCRIPTS = sorted((ROOT / "docker").glob("*.sh"))
GOOD = "6b1f0e7c9d2a"
# Each entry point's passwords, as compose.yaml hands them over.
SECRETS = {
    "mlflow.sh": [
        "DATABASE_PASSWORD_MLFLOW",
        "DATABASE_PASSWORD_MLFLOW_AUTH",
        "MLFLOW_AUTH_ADMIN_PASSWORD",
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ],
    "prefect.sh": ["DATABASE_PASSWORD_PREFECT", "PREFECT_PASSWORD"],
    "optuna_dashboard.sh": ["DATABASE_PASSWORD_OPTUNA", "OPTUNA_DASHBOARD_PASSWORD"],
    "worker.sh": ["DATABASE_PASSWORD_OPTUNA", "PREFECT_PASSWORD", "MLFLOW_TRACKING_PASSWORD"],
    "databases.sh": [
        "DATABASE_PASSWORD_PREFECT",
        "DATABASE_PASSWORD_MLFLOW",
        "DATABASE_PASSWORD_MLFLOW_AUTH",
        "DATABASE_PASSWORD_OPTUNA",
    ],
    "backup.sh": ["PGPASSWORD"],
    "restore.sh": ["PGPASSWORD"],
}


def check(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_are_what_their_formats_ask_for():
    programs = Path(sys.executable).parent
    check(programs / "hadolint", "docker/Dockerfile")
    check(programs / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    for script in SCRIPTS:
        check("sh", "-n", script)
        assert os.access(script, os.X_OK) == (script.name != "require.sh")  # which is only read


def stages() -> dict[str, str]:
    """Return the Dockerfile's text of each target by its name."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE.replace("\\\n", " "), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_what_is_copied_into_images_exists_and_is_sent_to_the_engine():
    sent = re.findall("^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copies = re.findall(
        r"^COPY (?!--from)(?:--\S+ )*(.+)$", "\n".join(stages().values()), re.MULTILINE
    )
    sources = [source for copy in copies for source in copy.split()[:-1]]
    assert len(sources) > 10
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in sent, source


@pytest.mark.parametrize("name", BUILT)
def test_a_service_s_entry_point_is_in_its_image_with_all_that_it_calls(name):
    service = BUILT[name]
    text = stages()[service["build"]["target"]]
    command = service.get("command") or re.search(r'CMD \["(.+)"\]', text)[1].split('", "')
    copied = set(re.findall(r"docker/(\S+)", text))
    script = command[0].removeprefix("/docker/")
    assert script in copied
    called = set(re.findall(r'\$here/(\S+?)"', (ROOT / "docker" / script).read_text()))
    if "require.sh" in (ROOT / "docker" / script).read_text():
        called.add("require.sh")
    called |= (
        {
            Path(part).name
            for part in service["healthcheck"].get("test", [])
            if part.startswith("/docker/")
        }
        if "healthcheck" in service
        else set()
    )
    assert called <= copied
    for module in re.findall(r"python -m (\S+)", (ROOT / "docker" / script).read_text()):
        assert importlib.util.find_spec(module), module


def test_workers_are_of_pools_that_there_are():
    pools = {service["command"][1] for name, service in SERVICES.items() if "worker-" in name}
    assert pools == set(POOLS)


def read_variables(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


def example_variables() -> dict[str, str]:
    return read_variables((ROOT / ".env.example").read_text())


def test_every_variable_is_in_the_example_and_every_secret_must_be_set():
    text = (ROOT / "compose.yaml").read_text()
    example = example_variables()
    used = re.findall(r"\$\{(\w+)(:\?|:-)?[^}]*\}", text)
    assert {name for name, _ in used} == set(example)
    for name, rule in used:
        # An empty one has no default, so that compose refuses to start; another is no secret.
        assert rule == (":?" if example[name] == "" else ":-"), name


def test_no_password_is_written_down():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?is empty; set it in .env\}", value), name


def test_passwords_sh_fills_every_gap_with_another_value():
    done = subprocess.run([ROOT / "docker/passwords.sh"], capture_output=True, check=True)
    made, example = read_variables(done.stdout.decode()), example_variables()
    secrets = [made[name] for name, value in example.items() if not value]
    assert len(secrets) == len(set(secrets)) >= 10
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in secrets)
    assert {name: value for name, value in made.items() if value not in secrets} == {
        name: value for name, value in example.items() if value
    }


@pytest.mark.parametrize("script", SECRETS)
@pytest.mark.fault("S3")
def test_an_entry_point_refuses_to_start_without_any_of_its_passwords(script):
    path = ROOT / "docker" / script
    for missing in SECRETS[script]:
        given = {name: GOOD for name in SECRETS[script] if name != missing}
        for value in ({}, {missing: ""}):
            done = subprocess.run(
                [path],
                env={"PATH": os.environ["PATH"]} | given | value,
                capture_output=True,
                text=True,
                timeout=20,
            )
            assert done.returncode in (2, 3)
            [line] = done.stderr.splitlines()
            assert f"{missing}: is empty; set" in line and ".env" in line


def test_a_password_that_no_address_may_have_is_refused_and_not_shown():
    given = {name: "p@ss/word" for name in SECRETS["prefect.sh"]}
    done = subprocess.run(
        [ROOT / "docker/prefect.sh"],
        capture_output=True,
        text=True,
        timeout=20,
        env={"PATH": os.environ["PATH"]} | given,
    )
    assert done.returncode == 3
    [line] = done.stderr.splitlines()
    assert "DATABASE_PASSWORD_PREFECT: has a character" in line and "p@ss" not in line


EASY = (
    "a",
    "admin",
    "password",
    "6b1f0e7c9d2",
    "aaaaaaaaaaaaaaaa",
    "administrator",
    "Admin-Password",
    "passwordpassword",
    "123456789012",
    "changeme-changeme",
    "prefect-admin-1",
    "qwertyqwerty12",
    "Postgres_2024",
    "secret.secret.1",
)


@pytest.mark.parametrize(
    "script", [name for name in SECRETS if "require " in (ROOT / "docker" / name).read_text()]
)
@pytest.mark.fault("S3")
def test_an_easy_password_is_refused_by_name_and_not_shown(script):
    for name, value in itertools.product(SECRETS[script], EASY):
        given = {other: GOOD for other in SECRETS[script]} | {name: value}
        done = subprocess.run(
            [ROOT / "docker" / script],
            env={"PATH": os.environ["PATH"]} | given,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == 3, value
        [line] = done.stderr.splitlines()
        assert line.startswith(f"error: {name}: is too easy to guess; set it in .env to what")
        assert len(value) < 9 or value not in line


def test_what_passwords_sh_makes_and_a_good_phrase_are_taken():
    made = [
        line.partition("=")[2]
        for _ in range(3)
        for line in subprocess.check_output([ROOT / "docker/passwords.sh"], text=True).splitlines()
        if re.fullmatch("[A-Z0-9_]+=[0-9a-f]{48}", line)
    ]
    assert len(made) > 25
    for value in [*made, GOOD, "correct-horse-battery", "my-admin-likes-Kuchen"]:
        script = f'. "{ROOT}/docker/require.sh"; V="{value}"; require V; echo taken'
        assert subprocess.check_output(["sh", "-c", script], text=True) == "taken\n"


@pytest.mark.fault("S7")
def test_images_are_pinned_and_the_python_is_the_project_s():
    for service in SERVICES.values():
        name, _, tag = service["image"].partition("@")[0].rpartition(":")
        assert name and re.match(r"\d+\.\d+", tag), service["image"]
        ours = service["image"].startswith("diffusevae-")
        assert ours or re.search("@sha256:[0-9a-f]{64}$", service["image"]), service["image"]
    [base] = re.findall(r"^FROM (\S+:\S+)", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    installs = re.findall(r"pip install .*", DOCKERFILE)
    assert installs and all("-c /build/constraints.txt" in line for line in installs)
    # 1.0+cpu is one index's build of 1.0: others do not have it.
    assert "+" not in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("answer, code", [(f"sha256:{'4' * 64}", 0), ("", 3), ("later", 3)])
def test_pin_sh_sets_the_digests_that_the_registries_say(tmp_path, answer, code):
    """An engine stands in that says the same of each image, or fails."""
    for name in ("compose.yaml", "docker/Dockerfile", "docker/pin.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    engine = tmp_path / "bin/docker"
    engine.parent.mkdir()
    engine.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ "{answer}" ] && echo {answer}')
    engine.chmod(0o755)
    done = subprocess.run(
        [tmp_path / "docker/pin.sh"],
        capture_output=True,
        text=True,
        timeout=20,
        env={"PATH": f"{engine.parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == code, done.stderr
    files = [
        (folder / "compose.yaml").read_text() + (folder / "docker/Dockerfile").read_text()
        for folder in (ROOT, tmp_path)
    ]
    if code == 0:
        images = [
            line.split()[-1].partition(":")[0]
            for line in (tmp_path / "asked").read_text().splitlines()
        ]
        assert sorted(images) == ["chrislusf/seaweedfs", "postgres", "python"]
        assert files[1] == re.sub("sha256:[0-9a-f]{64}", answer, files[0])
    else:
        assert files[0] == files[1]
        assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1


def copy_sent(source: Path, target: Path) -> None:
    """Copy what .dockerignore lets the engine have of a clone's .git."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    left_out = [line for line in lines if line.startswith(".git/")]
    assert lines[1:3] == ["*", "!.git"] and len(left_out) >= 4
    shutil.copytree(source / ".git", target / ".git")
    for pattern in left_out:
        for path in target.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("detached", [False, True])
def test_the_worker_s_image_has_the_code_and_nothing_else_of_a_clone(tmp_path, detached):
    """The Dockerfile's own commands, on a clone with secrets where clones have them."""

    def git(*arguments: str) -> str:
        return subprocess.check_output(
            ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", *arguments],
            cwd=source,
            text=True,
            stderr=subprocess.DEVNULL,
        )

    source = tmp_path / "source"
    subprocess.run(["git", "init", "-q", "-b", "main", source], check=True)
    for text in ("one", "two", f"{CANARY} of another branch", f"{CANARY} in a stash"):
        if "branch" in text:
            git("checkout", "-q", "-b", "mine")
        (source / "file").write_text(text)
        git("add", "file")
        git(*(("stash",) if "stash" in text else ("commit", "-q", "-m", text)))
    git("checkout", "-q", *(("--detach",) if detached else ()), "main")
    git("remote", "add", "origin", f"https://user:{CANARY}@127.0.0.1:9/x.git")
    git("tag", "-m", CANARY, "secret", "mine")
    (source / ".git/FETCH_HEAD").write_text(CANARY)
    (source / ".git/hooks/post-checkout").write_text(f"#!/bin/sh\n# {CANARY}\n")
    copy_sent(source, tmp_path / "clone")
    [command] = re.findall("^RUN (.+)$", stages()["repository"], re.MULTILINE)
    for folder in ("clone", "repository"):
        command = command.replace(f"/{folder}", str(tmp_path / folder))
    subprocess.run(
        ["sh", "-ec", command],
        check=True,
        capture_output=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    made = tmp_path / "repository"
    found = subprocess.check_output(["git", f"--git-dir={made}", "log", "--all", "-p"], text=True)
    assert "+one" in found and "+two" in found and CANARY not in found
    assert git("rev-parse", "main") == subprocess.check_output(
        ["git", f"--git-dir={made}", "rev-parse", "HEAD"], text=True
    )
    everything = subprocess.check_output(
        ["git", f"--git-dir={made}", "cat-file", "--batch-all-objects", "--batch"]
    )
    assert CANARY.encode() not in everything
    assert not [
        path for path in made.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.fault("S1", "S7")
def test_a_service_has_no_more_rights_than_it_needs(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"] and service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    user = (
        service.get("user")
        or re.findall(
            r"^USER (.+)$",
            stages()[service.get("build", {"target": "mlflow"})["target"]],
            re.MULTILINE,
        )[-1]
    )
    assert user.split(":")[0] not in ("0", "root")
    for port in service.get("ports", []):
        assert port.startswith("${ADDRESS:-127.0.0.1}:")


@pytest.mark.fault("S1")
def test_only_mlflow_reaches_the_artifacts_and_no_database_is_published():
    networks = COMPOSE["networks"]
    assert networks["artifacts"]["internal"] and networks["databases"]["internal"]
    reach = {name for name, service in SERVICES.items() if "artifacts" in service["networks"]}
    assert reach == {"s3", "mlflow", "backup"}
    assert {name for name, service in SERVICES.items() if "ports" in service} == {
        "mlflow",
        "prefect",
        "optuna-dashboard",
    }


def test_services_are_watched_and_start_after_those_they_need():
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            once = needed == "bootstrap"
            assert how == {
                "condition": "service_completed_successfully" if once else "service_healthy"
            }, (name, needed)
            assert once or "test" in SERVICES[needed]["healthcheck"]
        if name not in ("bootstrap", "backup"):  # which end
            assert service["healthcheck"]["test"] and service["restart"] == "unless-stopped"


def test_what_must_last_is_in_named_volumes_and_no_two_workers_share_a_checkout():
    mounts = {
        name: [mount for mount in service.get("volumes", []) if ":" in mount]
        for name, service in SERVICES.items()
    }
    named = {
        mount.split(":")[0]
        for found in mounts.values()
        for mount in found
        if not mount.startswith("./")
    }
    assert named == set(COMPOSE["volumes"])
    assert "postgres:/var/lib/postgresql/data" in mounts["postgres"] and "s3:/data" in mounts["s3"]
    checkouts = [mount for found in mounts.values() for mount in found if "/checkout" in mount]
    assert len(checkouts) == len({mount.split(":")[0] for mount in checkouts}) == 2
    for mount in (m for found in mounts.values() for m in found if m.startswith("./")):
        assert (ROOT / mount.split(":")[0]).exists() and mount.endswith(":ro")


def test_the_gpu_worker_reserves_one_gpu():
    [device] = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["${GPU:-0}"], "capabilities": ["gpu"]}
    assert SERVICES["worker-gpu"]["command"][1:] == ["gpu", "0"]  # the one that it sees
