"""Pages on this machine's loopback, for those alone who ask for them by their own address.

A web page can send requests to a port of the machine that its browser runs on, and with them the
login that the browser keeps for it; or it can have its own name point to 127.0.0.1. But browsers
say which page asks (Origin) and for which name (Host).
"""

import base64
import secrets
import socket
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from diffusevae.core.errors import EnvironmentFailure

ADDRESS = "127.0.0.1"


def require_free(port: int, other: str) -> None:
    """Raise EnvironmentFailure where something listens; `other` is a command with another port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise EnvironmentFailure(
                f"port {port}: {error.strerror}; name another: `{other}`"
            ) from error


class OwnPages:
    """The app for requests whose Host is this machine's loopback and the port, and whose Origin,
    where they have one, is the same; websockets included. Others get 400 and 403.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.hosts = [f"{name}:{port}" for name in (ADDRESS, "localhost", "[::1]")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        app = self.app
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            origins = headers.getlist("origin")
            if headers.get("host") not in self.hosts:
                app = PlainTextResponse(f"ask for http://{self.hosts[0]}", 400)
            elif not {*origins} <= {f"http://{host}" for host in self.hosts}:
                app = PlainTextResponse("asked for by another page", 403)
        await app(scope, receive, send)


class Login:
    """The app for those who send the login; what is in `open_paths` answers everyone.

    Others get 401 before anything of the body is read, also in answer to a websocket's handshake.
    """

    def __init__(
        self, app: ASGIApp, user: str, password: str, open_paths: Collection[str] = ()
    ) -> None:
        self.app, self.open_paths = app, open_paths
        self._expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        app = self.app
        if scope["type"] in ("http", "websocket") and scope["path"] not in self.open_paths:
            given = Headers(scope=scope).get("authorization", "").encode("latin-1")
            if not secrets.compare_digest(given, self._expected):
                asked = {"WWW-Authenticate": 'Basic realm="this checkout"'}
                app = PlainTextResponse("log in as the terminal says", 401, asked)
        await app(scope, receive, send)
