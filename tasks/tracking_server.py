"""The local MLflow server: on this machine's loopback only, behind a login of its own.

The first start makes a random password and keeps it in mlflow/login.json, readable by you only.
"""

import json
import os
import secrets
import sys
import tempfile
from pathlib import Path

from diffusevae.core import database_file
from diffusevae.core.disk import make_private
from diffusevae.core.errors import InputError
from diffusevae.core.readback import read_mapping
from diffusevae.tracking.mlflow_store import connect
from tasks.loopback import require_free

HOME = Path("mlflow").absolute()
LOGINS = HOME / "logins.db"
USER = "admin"
GUARDED = Path(__file__).parents[1] / "docker/guarded_mlflow.py"


def login() -> dict[str, str]:
    """Return the login of this checkout's pages and the cookies' key, made on first use; mode 0600.

    Raises InputError where its file is damaged.
    """
    make_private(HOME)
    path = HOME / "login.json"
    if not path.exists():
        made = {"user": USER, "password": secrets.token_urlsafe(18), "key": secrets.token_hex(32)}
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(made, file)
    mend = f"move it and {LOGINS.name} away, and there will be another password"
    found = read_mapping(path, str, mend)
    if missing := {"user", "password", "key"} - found.keys():
        raise InputError(f"{path}: has no {min(missing)}; {mend}")
    return found


def make_netrc(known: dict[str, str]) -> Path:
    """Write a login to a file as curl reads it, so that it is on no command line; mode 0600."""
    path = HOME / "netrc"
    with tempfile.NamedTemporaryFile("w", dir=HOME, delete=False) as file:
        file.write(f"machine 127.0.0.1 login {known['user']} password {known['password']}\n")
    os.replace(file.name, path)
    return path


def command(port: int) -> list[str]:
    """Return the server's command line, for the store that the pipeline writes to."""
    return [
        sys.executable,
        str(GUARDED),
        "server",
        "--app-name",
        "basic-auth",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "2",  # one person reads these pages; each takes 300 MB
        "--backend-store-uri",
        f"sqlite:///{HOME / 'mlflow.db'}",
        "--artifacts-destination",
        str(HOME / "artifacts"),
        "--uvicorn-opts",
        "--log-level=warning",
    ]


def configure(port: int) -> str:
    """Set the variables by which the server asks for this checkout's login; return that as lines.

    Raises InputError where the login is damaged, EnvironmentFailure where its database is, or stays
    locked.
    """
    known = login()
    database_file.require_whole(LOGINS)
    settings = HOME / "auth.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{LOGINS}\nadmin_username = {known['user']}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    os.environ |= {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_PASSWORD": known["password"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": known["key"],
        # Called by another name, as a web page could have it called, it refuses.
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{port},localhost:{port}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight idle helper processes otherwise
        "PYTHONWARNINGS": "ignore",  # what of MLflow's own code is deprecated, for each worker
    }
    return f"user      {known['user']}\npassword  {known['password']}"


def serve(port: int) -> None:
    """Print where the pages are and how to log in; become the server. Does not return.

    Raises EnvironmentFailure for a port that is taken, and what `configure` raises.
    """
    require_free(port, f"diffusevae mlflow --port {port + 1}")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    connect()  # makes the store where there is none yet
    known = configure(port)
    print(f"MLflow    http://127.0.0.1:{port}\n{known}\nstop with Ctrl-C", flush=True)
    os.execv(sys.executable, command(port))
