"""Every route of a server, from its app's own tables, and what a stranger gets there.

    python -m tests.support.routes mlflow

prints those of MLflow's server with its login, whose import settles its configuration.
"""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import psutil
import pytest

from tests.support.checkouts import ROOT

Route = tuple[str, str]  # method, or WEBSOCKET, and a path that it has
PLACEHOLDERS = re.compile(r"\{[^}]*\}|<[^>]*>|(?<=/):\w+")  # of Starlette, of Flask, of Bottle
WITH_BODY = {"POST", "PUT", "PATCH"}
HUGE = 10**12  # bytes that are announced and never sent: nobody may wait for them
REFUSED = {401, 403}
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "bm9uZW5vbmVub25lbm9uZQ==",
}
SECONDS = 60


def list_starlette(routes: Iterable, prefix: str = "") -> Iterator[Route]:
    """Yield those of Starlette's or FastAPI's routes, mounted apps included."""
    for route in routes:
        path = prefix + getattr(route, "path", "")
        if methods := getattr(route, "methods", None):
            yield from ((method, _fill(path)) for method in methods)
        elif "WebSocket" in type(route).__name__:
            yield "WEBSOCKET", _fill(path)
        elif router := getattr(route, "original_router", None):
            yield from list_starlette(router.routes, path)
        elif getattr(route, "routes", None):
            yield from list_starlette(route.routes, path)
        else:  # an app without a table
            yield from (("GET", path or "/"), ("POST", path or "/"), ("WEBSOCKET", path or "/"))


def list_flask(app) -> Iterator[Route]:
    """Yield those of a Flask app."""
    for rule in app.url_map.iter_rules():
        yield from ((method, _fill(rule.rule)) for method in rule.methods)


def list_bottle(app) -> Iterator[Route]:
    """Yield those of a Bottle app."""
    yield from ((route.method, _fill(route.rule)) for route in app.routes)


def list_mlflow(folder: str, **variables: str) -> list[Route]:
    """Return those of MLflow's server with its login, as a process of their own finds them."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.routes", "mlflow"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "_MLFLOW_SGI_NAME": "uvicorn"} | variables,
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [(method, path) for method, path in json.loads(done.stdout.splitlines()[-1])]


def find_answered(
    address: str, routes: Iterable[Route], headers: dict[str, str] | None = None
) -> dict[Route, int]:
    """Return the routes that answer anything but 401 or 403, with the status.

    A body is announced and never sent: who is refused is refused before it is read.
    """
    answered = {}
    for method, path in sorted(set(routes)):
        status = _ask(address, method, path, headers or {})
        if status not in REFUSED:
            answered[method, path] = status
    return answered


def require_loopback(address: str) -> None:
    """Raise AssertionError where this machine's other addresses answer at the port."""
    port = urlsplit(address).port
    found = {each.address for card in psutil.net_if_addrs().values() for each in card}
    others = {each for each in found if re.fullmatch(r"[\d.]+", each)} - {"127.0.0.1"}
    for other in others | {"127.0.0.2"}:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((other, port), timeout=5)


def _ask(address: str, method: str, path: str, headers: dict[str, str]) -> int:
    there = urlsplit(address)
    connection = http.client.HTTPConnection(there.hostname, there.port, timeout=SECONDS)
    websocket = method == "WEBSOCKET"
    try:
        connection.putrequest("GET" if websocket else method, path)
        for name, value in (headers | (HANDSHAKE if websocket else {})).items():
            connection.putheader(name, value)
        if method in WITH_BODY:
            connection.putheader("Content-Length", str(HUGE))
        connection.endheaders()
        return connection.getresponse().status
    except TimeoutError as error:
        raise AssertionError(f"{method} {path}: no answer; it waits for the body") from error
    finally:
        connection.close()


def _fill(path: str) -> str:
    return PLACEHOLDERS.sub("1", path) or "/"


if __name__ == "__main__":
    from mlflow.server import app as flask
    from mlflow.server.auth import create_app

    fastapi = create_app()
    print(json.dumps([*list_starlette(fastapi.routes), *list_flask(flask)]))
