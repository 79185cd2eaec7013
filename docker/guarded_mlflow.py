"""`mlflow`, whose server reads nothing from strangers and no more than it can hold from anyone.

MLflow's own server (3.17, server/fastapi_app.py) takes a request's whole body into memory before it
looks at the login: anybody could fill that. Files of runs and models, which it writes to disk as
they come and after the login, may have any size.
"""

import os
import re
import sys
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = "/health"
UPLOADS = re.compile(r"/(ajax-)?api/2\.0/mlflow-artifacts/artifacts/.")
MOST_BYTES = 64 * 2**20


class Guarded:
    """The app for requests with a login, which it then looks at, and bodies of a told size."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: 401 without a login, 411 and 413 for a size untold or too large."""
        app = self.app
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if "authorization" not in headers and scope["path"] != OPEN:
                asked = {"WWW-Authenticate": 'Basic realm="mlflow"'}
                app = PlainTextResponse("log in", 401, asked)
            elif not UPLOADS.match(scope["path"]):
                if "transfer-encoding" in headers:
                    app = PlainTextResponse("tell the body's size", 411)
                elif int(headers.get("content-length", 0)) > MOST_BYTES:
                    app = PlainTextResponse(f"the body has more than {MOST_BYTES} bytes", 413)
        await app(scope, receive, send)


def make_app() -> ASGIApp:
    """Return MLflow's server with its login, guarded."""
    from mlflow.server import handlers
    from mlflow.server.auth import create_app

    # It would send clients to the store's own address for a file, which only this server reaches.
    # MLflow (3.17) has no setting for that: it looks whether its store is one of these.
    handlers.MultipartDownloadMixin = handlers.MultipartUploadMixin = ()
    return Guarded(create_app())


def run() -> None:
    """Be `mlflow`, with the arguments of this process."""
    import mlflow.server
    from mlflow.cli import cli

    # How MLflow finds the app that --app-name names; its plugins would have to be installed.
    mlflow.server._find_app = lambda name: f"{Path(__file__).stem}:make_app"
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # for the server's processes
    cli(prog_name="mlflow")


if __name__ == "__main__":
    sys.exit(run())
