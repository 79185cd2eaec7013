"""Optuna's pages of this checkout's searches, on this machine only and behind a login."""

import warnings

from tasks.loopback import ADDRESS, Login, OwnPages, require_free
from tasks.tracking_server import login


def show(port: int) -> None:
    """Print where the pages are and how to log in, and serve them until Ctrl-C.

    Raises EnvironmentFailure where the port is taken or the database of the searches is damaged or
    away, InputError where its address is none.
    """
    require_free(port, f"diffusevae dashboard --port {port + 1}")
    import uvicorn

    known = login()
    app = OwnPages(Login(make_app(), known["user"], known["password"]), port)
    print(
        f"Optuna    http://{ADDRESS}:{port}\nuser      {known['user']}\n"
        f"password  {known['password']}\nstop with Ctrl-C",
        flush=True,
    )
    uvicorn.run(app, host=ADDRESS, port=port, log_level="warning")


def make_app():
    """Return the dashboard of the searches' storage as an ASGI app. Raises what `show` raises."""
    from optuna_dashboard import wsgi

    from diffusevae.tuning.study_storage import connect

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from starlette.middleware.wsgi import WSGIMiddleware

        return WSGIMiddleware(wsgi(connect()))
