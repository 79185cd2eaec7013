"""Optuna's dashboard behind a login: user admin, the password in OPTUNA_DASHBOARD_PASSWORD.

A browser keeps a login and sends it with whatever any page asks for: what another page asks for is
refused.
"""

import base64
import hmac
import os
from collections.abc import Callable, Iterable

App = Callable[[dict, Callable], Iterable[bytes]]


def make_app() -> App:
    """Return the dashboard of the database OPTUNA_STORAGE, whose tables it makes if need be."""
    from optuna.storages import RDBStorage
    from optuna_dashboard import wsgi

    storage = RDBStorage(os.environ["OPTUNA_STORAGE"], engine_kwargs={"pool_pre_ping": True})
    return require_login(wsgi(storage), "admin", os.environ["OPTUNA_DASHBOARD_PASSWORD"])


def require_login(app: App, user: str, password: str) -> App:
    """Return the app for those who send the login, from its own page; /health answers everyone."""
    expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    def guarded(environ: dict, start_response: Callable) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == "/health":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"OK\n"]
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin.partition("://")[2] != environ.get("HTTP_HOST"):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"asked for by another page\n"]
        given = environ.get("HTTP_AUTHORIZATION", "").encode("latin-1")
        if hmac.compare_digest(given, expected):
            return app(environ, start_response)
        start_response(
            "401 Unauthorized",
            [("Content-Type", "text/plain"), ("WWW-Authenticate", 'Basic realm="Optuna"')],
        )
        return [b"log in as admin\n"]

    return guarded
