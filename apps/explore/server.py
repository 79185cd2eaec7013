"""Play with the latents of a registered model: a page of sliders, on this machine only.

It is named by a latent study, or is the name of a registered model; its newest version is taken.
The page asks for the login that MLflow's pages ask for. It needs no network, and loads nothing from
one.
"""

import tempfile
from pathlib import Path

from starlette.types import ASGIApp

from diffusevae.latents.page.exploring import Explorer
from tasks.loopback import ADDRESS, Login, OwnPages, require_free
from tasks.registry.latents import download
from tasks.tracking_server import login


def explore(study: str, port: int) -> None:
    """Fetch the model, print where its page is and how to log in, and serve it until Ctrl-C.

    Raises InputError for a model without latents, EnvironmentFailure where the
    port is taken or MLflow fails.
    """
    require_free(port, f"diffusevae explore {study} --port {port + 1}")
    with tempfile.TemporaryDirectory() as folder:
        explorer = download(study, Path(folder))
    known = login()
    if code := explorer.made_by.get("Made with code"):
        print(f"warning: the page works with code {code}", flush=True)
    print(
        f"page      http://{ADDRESS}:{port}  ({explorer.made_by['Model']})\n"
        f"user      {known['user']}\npassword  {known['password']}\nstop with Ctrl-C",
        flush=True,
    )
    serve(explorer, port, known["user"], known["password"])


def serve(explorer: Explorer, port: int, user: str, password: str) -> None:
    """Serve the page behind a login, on this machine's loopback only, until the process ends."""
    import uvicorn

    app = Login(make_app(explorer, port), user, password)
    uvicorn.run(app, host=ADDRESS, port=port, log_level="warning")


def make_app(explorer: Explorer, port: int) -> ASGIApp:
    """Return the page's app; no page of another origin can use the login that a browser keeps."""
    from fastapi import FastAPI
    from nicegui import app as nicegui
    from nicegui import ui

    from apps.explore.page import TITLE, show_page

    # A bar for each picture that is fetched, which has no name for a screen reader.
    nicegui.config.quasar_config["loadingBar"]["skipHijack"] = True
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    ui.page("/")(lambda: show_page(explorer))
    ui.run_with(app, title=TITLE, language="en-US", tailwind=False, show_welcome_message=False)
    app.add_middleware(OwnPages, port=port)
    return app
