"""Play with the latents of a registered model: a page of sliders, on this machine only.

    python -m apps.explore [STUDY [PORT]]

STUDY is a latent study, or the name of a registered model; its newest version is taken. The page
asks for the login that MLflow's pages ask for. It needs no network, and loads nothing from one.
"""

import base64
import secrets
import sys
import tempfile
from pathlib import Path

from diffusevae.core.errors import InputError
from diffusevae.latents.page.exploring import Explorer
from tasks.loopback import ADDRESS, OwnPages, require_free
from tasks.registry.latents import download
from tasks.terminal import run_on_terminal
from tasks.tracking_server import login, read_port

USAGE = "write `python -m apps.explore [STUDY [PORT]]`"


def explore(arguments: list[str]) -> None:
    """Fetch the model, print where its page is and how to log in, and serve it until Ctrl-C.

    Raises InputError for wrong arguments or a model without latents, EnvironmentFailure where the
    port is taken or MLflow fails.
    """
    if len(arguments) > 2:
        raise InputError(f"arguments {' '.join(arguments)!r}: {USAGE}")
    study, port = [*arguments, *("latents", "8080")[len(arguments) :]]
    number = read_port(port)
    require_free(number, "make explore PORT=8090")
    with tempfile.TemporaryDirectory() as folder:
        explorer = download(study, Path(folder))
    known = login()
    if code := explorer.made_by.get("Made with code"):
        print(f"warning: the page works with code {code}", flush=True)
    print(
        f"page      http://{ADDRESS}:{number}  ({explorer.made_by['Model']})\n"
        f"user      {known['user']}\npassword  {known['password']}\nstop with Ctrl-C",
        flush=True,
    )
    serve(explorer, number, known["user"], known["password"])


def serve(explorer: Explorer, port: int, user: str, password: str) -> None:
    """Serve the page behind a login, on this machine's loopback only, until the process ends.

    No page of another origin can use the login that a browser keeps for it.
    """
    import uvicorn
    from fastapi import FastAPI
    from nicegui import ui
    from starlette.authentication import (
        AuthCredentials,
        AuthenticationBackend,
        AuthenticationError,
        SimpleUser,
    )
    from starlette.middleware.authentication import AuthenticationMiddleware
    from starlette.responses import PlainTextResponse

    from apps.explore.page import TITLE, show_page

    expected = base64.b64encode(f"{user}:{password}".encode()).decode()

    class Login(AuthenticationBackend):
        async def authenticate(self, conn):
            scheme, _, given = conn.headers.get("Authorization", "").partition(" ")
            if scheme != "Basic" or not secrets.compare_digest(given.encode(), expected.encode()):
                raise AuthenticationError("log in as the terminal says")
            return AuthCredentials(), SimpleUser(user)

    def refuse(_, error: Exception) -> PlainTextResponse:
        return PlainTextResponse(str(error), 401, {"WWW-Authenticate": 'Basic realm="latents"'})

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(AuthenticationMiddleware, backend=Login(), on_error=refuse)
    app.add_middleware(OwnPages, port=port)  # before the login is looked at
    ui.page("/")(lambda: show_page(explorer))
    ui.run_with(app, title=TITLE, tailwind=False, show_welcome_message=False)
    uvicorn.run(app, host=ADDRESS, port=port, log_level="warning")


if __name__ == "__main__":
    sys.exit(run_on_terminal(lambda: explore(sys.argv[1:])))
