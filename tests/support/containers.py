"""Images and services by podman and buildah, on a machine without a registry or systemd.

A base image is made of Debian's packages, PostgreSQL and S3 by tests/containers/Dockerfile; compose
then runs a copy of compose.yaml that differs in three things: images have no digests, podman's log
driver is another, and a tmpfs has no owner, which podman does not know.
"""

import json
import os
import re
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from flows.prefect_server import free_port
from tests.support.checkouts import ROOT

HERE = ROOT / "tests/containers"
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")
PROJECT = "diffusevae-test"
TARGETS = {"mlflow": "mlflow", "prefect": "prefect", "optuna-dashboard": "optuna-dashboard"} | {
    "worker": "worker-cpu"
}
STAND_INS = {"postgres": "docker.io/library/postgres", "s3": "docker.io/chrislusf/seaweedfs"}
# runc, for crun refuses hybrid cgroups; limits may not be raised.
CONFIG = """\
[engine]
runtime = "runc"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]
log_driver = "k8s-file"
"""
MOUNTS = "BUILD_MOUNTS"  # names paths that a build sees, such as pip's configuration and wheels
PROGRAMS = (
    *("podman", "buildah", "runc", "catatonit", "podman-compose", "debootstrap"),
    "iptables",  # without which podman's networks fail with "No such file or directory"
)
SECONDS = 3600


def find_missing() -> list[str]:
    """Return what is not installed; nothing can run without root either."""
    return [name for name in PROGRAMS if shutil.which(name) is None] + ["root"] * (os.getuid() != 0)


class Engine:
    """A clone of this checkout's last commit, its images, and its services."""

    def __init__(self, folder: Path) -> None:
        self.clone, config = folder / "clone", folder / "containers.conf"
        config.write_text(CONFIG)
        # .venv is this checkout's; what runs in the clone is the clone's code.
        code = {"PYTHONPATH": f"{self.clone / 'src'}{os.pathsep}{self.clone}"}
        self.environment = os.environ | {"CONTAINERS_CONF": str(config)} | code
        policy = Path("/etc/containers/policy.json")
        if not policy.exists():
            policy.parent.mkdir(parents=True, exist_ok=True)
            policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        subprocess.run(["git", "clone", "-q", ROOT, self.clone], check=True)
        text = DIGEST.sub("", (self.clone / "compose.yaml").read_text())
        text = text.replace("driver: local}", "driver: k8s-file}")
        text = re.sub(r', "/run/postgresql:[^"]*"', "", text)
        (self.clone / "compose.local.yaml").write_text(text)
        self.settings: dict[str, str] = {}
        self.set_passwords()
        [self.base] = re.findall(r"^FROM (\S+?)@", (ROOT / "docker/Dockerfile").read_text(), re.M)

    def set_passwords(self) -> None:
        """Write .env: random passwords, and ports that are free, the same as before if any."""
        ports = {key: value for key, value in self.settings.items() if key.endswith("_PORT")}
        file = self.clone / ".env"
        file.write_text(self.run(self.clone / "docker/passwords.sh"))
        file.chmod(0o600)
        lines = re.findall(r"^([A-Z_0-9]+)=(.*)$", file.read_text(), re.M)
        self.settings = dict(lines) | (
            ports or {name: str(free_port()) for name, _ in lines if name.endswith("_PORT")}
        )
        api = f"http://127.0.0.1:{self.settings['PREFECT_PORT']}/api"
        self.settings["PREFECT_UI_API_URL"] = api
        file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def run(self, *command: str | Path, **options) -> str:
        """Run a command in the clone; return its output. Raises AssertionError if it fails.

        options: subprocess.run's, such as the files that are its standard input and output.
        """
        done = subprocess.run(
            command,
            cwd=self.clone if self.clone.exists() else ROOT,
            env=self.environment,
            text=True,
            errors="replace",
            timeout=SECONDS,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
        assert done.returncode == 0, f"{command}: {((done.stdout or '') + done.stderr)[-3000:]}"
        return done.stdout

    def build_all(self, folder: Path) -> None:
        """Build all images; what did not change is not made again."""
        self.make_base(folder)
        compose = (ROOT / "compose.yaml").read_text()
        for target, image in STAND_INS.items():
            name = image.removeprefix("docker.io/").removeprefix("library/")
            [tag] = set(re.findall(rf"image: {name}:([^@\s]+)", compose))
            self.build(HERE, (HERE / "Dockerfile").read_text(), target, f"{image}:{tag}")
        for target, name in TARGETS.items():
            text = (self.clone / "docker/Dockerfile").read_text()
            self.build(self.clone, text, target, f"diffusevae-{name}:0.1.0")

    def make_base(self, folder: Path) -> None:
        """Make the image that docker/Dockerfile begins with, where there is none."""
        if self.has(self.base):
            return
        root = folder / "root"
        packages = "ca-certificates,python3,python3-venv,python3-pip"
        self.run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", root)
        (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
        (root / "usr/bin/python").symlink_to("python3")
        container = self.run("buildah", "from", "scratch").strip()
        mounted = self.run("buildah", "mount", container).strip()
        self.run("cp", "-a", f"{root}/.", mounted)
        self.run("buildah", "umount", container)
        path = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        self.run("buildah", "config", "--env", path, container)
        self.run("buildah", "commit", container, f"docker.io/library/{self.base}")
        self.run("buildah", "rm", container)
        shutil.rmtree(root)

    def has(self, image: str) -> bool:
        """Return whether there is such an image."""
        command = ["podman", "image", "exists", image]
        return subprocess.run(command, env=self.environment, timeout=60).returncode == 0

    def build(self, context: Path, dockerfile: str, target: str, image: str) -> None:
        """Build a target of a Dockerfile's text; what did not change is not made again."""
        (self.clone / "Dockerfile.local").write_text(DIGEST.sub("", dockerfile))
        mounts = [
            argument
            for path in ("/etc/ssl/certs/ca-certificates.crt", *os.environ.get(MOUNTS, "").split())
            for argument in ("--volume", f"{path}:{path}:ro")
        ]
        index = os.environ.get("PIP_EXTRA_INDEX_URL", "")
        self.run(
            *("buildah", "bud", "--isolation", "chroot", "--pull-never", "--layers"),
            *("--build-arg", f"PIP_EXTRA_INDEX_URL={index}", *mounts, "--target", target),
            *("-t", image, "-f", self.clone / "Dockerfile.local", context),
        )

    def compose(self, *arguments: str, **options) -> str:
        """Run podman-compose."""
        command = ["podman-compose", "--in-pod=false", "-p", PROJECT, "-f", "compose.local.yaml"]
        return self.run(*command, *arguments, **options)

    def name(self, service: str) -> str:
        """Return a service's container."""
        return f"{PROJECT}_{service}_1"

    def inspect(self, service: str) -> dict:
        """Return what podman says of a service's container."""
        return json.loads(self.run("podman", "inspect", self.name(service)))[0]

    def execute(self, service: str, *command: str, **options) -> str:
        """Run a command in a service's container; return its output."""
        return self.run("podman", "exec", "-i", self.name(service), *command, **options)

    def wait(self, service: str, seconds: float = 600) -> None:
        """Return when its health check passes; without systemd nobody else runs it."""
        deadline = time.monotonic() + seconds
        command = ["podman", "healthcheck", "run", self.name(service)]
        while time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                done = subprocess.run(
                    command, env=self.environment, capture_output=True, timeout=60
                )
                if done.returncode == 0:
                    return
            time.sleep(1)
        said = self.run("podman", "logs", "--tail", "30", self.name(service))
        raise AssertionError(f"{service} is not healthy: {said}")

    def wipe(self) -> None:
        """Remove containers, networks and volumes, also of a test that was killed."""
        self.compose("down", "--volumes", "--timeout", "20")
