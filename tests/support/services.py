"""Real services for tests: on free loopback ports, in folders of their own; tests end them."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from diffusevae.core.parent import tie
from flows.prefect_server import free_port
from tests.support.checkouts import ROOT

DATABASES = ("prefect", "mlflow", "mlflow_auth", "optuna")  # as docker/databases.sh makes them
SECONDS = 60


class Postgres:
    """A PostgreSQL cluster with the databases of the team's services.

    As root it runs as the user postgres, for PostgreSQL refuses root.
    """

    def __init__(self) -> None:
        """Make it and start it; raises AssertionError where PostgreSQL is not installed."""
        self._programs = find_postgres()
        # Another user's process has to ask anew for the signal that comes when its parent dies.
        self._owner = (
            [
                "setpriv",
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                "--pdeathsig=TERM",
            ]
            if os.getuid() == 0
            else []
        )
        # Not pytest's folder, into which no other user can look.
        self.folder = Path(tempfile.mkdtemp(prefix="diffusevae-postgres-"))
        self.port = free_port()
        self.passwords = {name: secrets.token_hex(12) for name in ("postgres", *DATABASES)}
        self._process: subprocess.Popen | None = None
        try:
            self._make()
            self.start()
            self.make_databases()
        except BaseException:
            self.remove()
            raise

    def url(self, database: str, driver: str = "postgresql+psycopg") -> str:
        """Return the database's address with its login, for SQLAlchemy."""
        return f"{driver}://{database}:{self.passwords[database]}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """Make one more empty database with its own role; return its address as `url` does."""
        self.passwords[database] = secrets.token_hex(12)
        address = self.url("postgres", "postgresql")
        with psycopg.connect(address, autocommit=True) as superuser:
            superuser.execute(f"CREATE ROLE {database} LOGIN PASSWORD '{self.passwords[database]}'")
            superuser.execute(f"CREATE DATABASE {database} OWNER {database}")
        return self.url(database)

    def start(self) -> None:
        """Start it, also after `kill`, and wait until it takes connections."""
        assert self._process is None
        deadline = time.monotonic() + SECONDS
        # After a kill, its orphans hold their shared memory for a moment: then it does not start.
        while time.monotonic() < deadline:
            with open(self.folder / "log", "a") as log:
                process = subprocess.Popen(
                    tie([*self._owner, self._programs / "postgres", "-D", self.folder / "data"]),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            while process.poll() is None and time.monotonic() < deadline:
                if self._answers():
                    self._process = process
                    return
                time.sleep(0.05)
            if process.poll() is None:
                process.kill()
                process.wait()
            time.sleep(0.2)
        raise AssertionError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()}")

    def kill(self) -> None:
        """End it as a power cut would, by kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order, with all its connections."""
        self._end(signal.SIGINT)

    def remove(self) -> None:
        """End it and delete its folder."""
        if self._process is not None:
            self.stop()
        shutil.rmtree(self.folder)

    def make_databases(self) -> None:
        """Run docker/databases.sh, which gives each role the password in `passwords`."""
        named = {f"DATABASE_PASSWORD_{name.upper()}": self.passwords[name] for name in DATABASES}
        self.run_client(ROOT / "docker/databases.sh", **named)

    def run_client(self, *command: str | Path, **variables: str) -> str:
        """Run a command that talks to it as its superuser; return its output."""
        done = subprocess.run(
            command,
            env=self.client_variables() | variables,
            text=True,
            capture_output=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client_variables(self) -> dict[str, str]:
        """Return the environment in which PostgreSQL's programs find it."""
        path = os.pathsep.join([str(self._programs), os.environ["PATH"]])
        return os.environ | {
            "PATH": path,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGPASSWORD": self.passwords["postgres"],
        }

    def _make(self) -> None:
        password = self.folder / "password"
        password.write_text(self.passwords["postgres"])
        if self._owner:
            for path in (self.folder, password):
                shutil.chown(path, "postgres", "postgres")
        command = [
            *self._owner,
            self._programs / "initdb",
            "-D",
            self.folder / "data",
            "--username=postgres",
            "--auth=scram-sha-256",
            f"--pwfile={password}",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
        done = subprocess.run(
            command, cwd=self.folder, text=True, capture_output=True, timeout=SECONDS
        )
        assert done.returncode == 0, done.stderr
        with open(self.folder / "data/postgresql.conf", "a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\n"
                f"unix_socket_directories = '{self.folder}'\nmax_connections = 200\n"
                "fsync = off\n"
            )  # a killed process loses nothing by that

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres", "postgresql"), connect_timeout=5).close()
            return True
        except psycopg.OperationalError:
            return False

    def _end(self, number: signal.Signals) -> None:
        self._process.send_signal(number)
        self._process.wait(SECONDS)
        self._process = None


def find_postgres() -> Path:
    """Return the folder of PostgreSQL's programs; raises AssertionError where there is none."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))  # where Debian puts them
    assert found, "PostgreSQL is not installed; run: apt-get install postgresql"
    return found[-1].parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL cluster; a test that kills it starts it again."""
    cluster = Postgres()
    try:
        yield cluster
    finally:
        cluster.remove()


class Service:
    """A server that was started by a command line and answers at an address."""

    def __init__(self, process: subprocess.Popen, log: Path, address: str, health: str) -> None:
        self.process, self.log, self.address = process, log, address
        self.health = address + health

    def wait(self) -> None:
        """Return when it answers its health check; raises AssertionError if it does not."""
        deadline = time.monotonic() + 2 * SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.health, timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"{self.health} does not answer: {self.log.read_text()[-3000:]}")


@contextmanager
def start(
    folder: Path, health: str, *command: str | Path, port: int | None = None, **variables: str
) -> Iterator[Service]:
    """Start a server in a folder of its own; end it, and all that it started.

    It finds its address in HOST and PORT.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log, port = folder / "log", port or free_port()
    environment = os.environ | {"HOST": "127.0.0.1", "PORT": str(port)} | variables
    with open(log, "w") as file:
        process = subprocess.Popen(
            tie(command),
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield Service(process, log, f"http://127.0.0.1:{port}", health)
    finally:
        end(process)


def end(process: subprocess.Popen, seconds: float = 15) -> float:
    """End a process by SIGTERM, its whole group by force; return the seconds it took itself."""
    started = time.monotonic()
    process.terminate()
    try:
        process.wait(seconds)
        return time.monotonic() - started
    except subprocess.TimeoutExpired:
        return float("inf")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
