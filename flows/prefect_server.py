"""A Prefect server for the time of one run, where the user has none.

Prefect's own temporary server stands in the run's process group, so that Ctrl-C ends it before the
run's last state reaches it, and the run then waits 80 seconds for it. This one has a session of
its own, starts while other work is done, and ends with the process that started it. Any user of
this machine, and any web page in its browsers, can call a loopback port: so it asks for a login
that only this run knows, and answers to no page of another origin.
"""

import atexit
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from diffusevae.core import database_file
from diffusevae.core.errors import EnvironmentFailure
from diffusevae.core.parent import tie

DATABASE = "prefect.db"
SERVE = ("-m", "prefect", "server", "start")
# What Prefect's server says of a database whose tables it does not know, before it ends.
NEWER = "Can't locate revision identified by"


class TemporaryServer:
    """A server on a free loopback port, with its data in `home`, else in PREFECT_HOME."""

    def __init__(
        self,
        home: Path | None = None,
        variables: Mapping[str, str] | None = None,
        login: str | None = None,
    ) -> None:
        """Start it, without waiting until it answers; `variables` are Prefect settings of it.

        login: the USER:PASSWORD that it asks for, random if None. Raises EnvironmentFailure where
        its database is damaged or stays locked.
        """
        port = free_port()
        home = home or PREFECT_HOME.value()
        home.mkdir(parents=True, exist_ok=True)
        database_file.require_whole(home / DATABASE)
        self.api_url = f"http://127.0.0.1:{port}/api"
        self.login = login or f"run:{secrets.token_urlsafe(24)}"
        self.log = home / "server.log"
        settings = {
            "PREFECT_HOME": str(home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",  # nobody knows its login
            # By environment, which other users cannot read. A browser never sends this login by
            # itself, so no page can use it: that is all that a CSRF token would add.
            "PREFECT_SERVER_API_AUTH_STRING": self.login,
            "PREFECT_API_AUTH_STRING": self.login,  # its own services log in too
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port}",
        }
        with open(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as log:
            self._process = subprocess.Popen(
                tie([sys.executable, *SERVE, "--host", "127.0.0.1", "--port", str(port)]),
                env=os.environ | settings | dict(variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
            )
        # Prefect registers what it still has to send later than this, so it is sent before.
        atexit.register(self.stop)

    def wait(self) -> str:
        """Return its API's address when it answers. Raises EnvironmentFailure if it does not."""
        seconds = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{self.api_url}/health", timeout=5).is_success:
                    return self.api_url
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        reason = "ended" if self._process.poll() is not None else f"is silent after {seconds} s"
        if NEWER in self.log.read_text(errors="replace"):
            raise EnvironmentFailure(
                f"{self.log.parent}: its database is of a newer Prefect; use "
                "the code that made it, or move that folder away: it holds "
                "what Prefect's pages show of earlier runs"
            )
        raise EnvironmentFailure(f"Prefect's temporary server: {reason}; {self.log} says why")

    def stop(self) -> None:
        """End it, by force if it takes more than 5 seconds."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def server_at_hand(prepare: Callable[[], None]) -> Iterator[None]:
    """Use the user's server, else one for the time of the block; `prepare` runs while it starts.

    Raises EnvironmentFailure where it does not answer: Prefect itself would find out late.
    """
    url = PREFECT_API_URL.value()
    if url is None:
        server = TemporaryServer()
        prepare()
        own = {PREFECT_API_URL: server.wait(), PREFECT_API_AUTH_STRING: server.login}
    else:
        require_answer(url)
        prepare()
        own = {}
    with temporary_settings(own):
        yield


def require_answer(url: str) -> None:
    """Raise EnvironmentFailure where no server answers at the address of an API."""
    try:
        httpx.get(f"{url}/health", timeout=10)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EnvironmentFailure(
            f"Prefect's server: {url} does not answer; start it, or unset PREFECT_API_URL"
        ) from error


def free_port() -> int:
    """Return a port of this machine's loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
