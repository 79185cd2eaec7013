"""Play with the latents of a registered model: a page of sliders, on this machine only.

    python -m apps.explore [STUDY [PORT]]

STUDY is a latent study, or the name of a registered model; its newest version is taken. The page
asks for the login that MLflow's pages ask for. It needs no network, and loads nothing from one.
"""

import sys
import tempfile
from pathlib import Path

from starlette.types import ASGIApp

from diffusevae.core.errors import InputError
from diffusevae.latents.page.exploring import Explorer
from tasks.loopback import ADDRESS, Login, OwnPages, require_free
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
    """Serve the page behind a login, on this machine's loopback only, until the process ends."""
    import uvicorn

    app = Login(make_app(explorer, port), user, password)
    uvicorn.run(app, host=ADDRESS, port=port, log_level="warning")


def make_app(explorer: Explorer, port: int) -> ASGIApp:
    """Return the page's app; no page of another origin can use the login that a browser keeps."""
    from fastapi import FastAPI
    from nicegui import ui

    from apps.explore.page import TITLE, show_page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    ui.page("/")(lambda: show_page(explorer))
    ui.run_with(app, title=TITLE, tailwind=False, show_welcome_message=False)
    app.add_middleware(OwnPages, port=port)
    return app


if __name__ == "__main__":
    sys.exit(run_on_terminal(lambda: explore(sys.argv[1:])))
