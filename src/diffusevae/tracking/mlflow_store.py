"""Where MLflow keeps things: MLFLOW_TRACKING_URI, else an SQLite file and artifacts in ./mlflow."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusevae.core import database_file
from diffusevae.core.address import is_http
from diffusevae.core.disk import make_private, require_writable
from diffusevae.core.errors import EnvironmentFailure, InputError
from diffusevae.core.proxies import keep_loopback_direct
from diffusevae.tracking.local_store import bring_up_to_date, move_in

keep_loopback_direct()
# No telemetry unless the user turns it on; no pickle; a dead server is not waited for.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
# It prints the address of each run, with the login that it may have.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
logging.getLogger("alembic").setLevel(logging.WARNING)
OF_DATABRICKS = ("databricks", "databricks-uc", "uc")  # whose login is kept elsewhere
OTHER_TABLES = "out-of-date database schema"  # what MLflow says of older ones and of newer ones


def tracking_uri() -> str:
    """Return the address of the configured store."""
    home = Path("mlflow").absolute()
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


def require_address() -> None:
    """Raise InputError for an MLFLOW_TRACKING_URI that can be no store, whatever is running.

    Its text is not shown: what is wrong with it may be a part of a password.
    """
    uri = tracking_uri()
    if is_http(uri) or uri.partition(":")[0] in OF_DATABRICKS:
        return
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    reason = "is no address of a store that MLflow knows"
    try:
        url = make_url(uri)
        url.get_dialect().import_dbapi()
        if url.database:
            return
    except ImportError as error:
        reason = f"needs the package {error.name}, which is not installed"
    except (ArgumentError, ValueError):
        pass
    raise InputError(
        f"MLFLOW_TRACKING_URI: {reason}; write http://HOST:PORT or "
        "sqlite:////FOLDER/mlflow.db, or unset it"
    )


def connect():
    """Return an MlflowClient on the configured store, creating the default one once.

    Sets MLFLOW_TRACKING_URI for this process and its children, so that all use the same store.
    Raises InputError for an address that is none, EnvironmentFailure for a database of another
    MLflow's, or a file that cannot be made, is damaged or stays locked; the default one, where it
    is older, is upgraded.
    """
    require_address()
    home = Path("mlflow").absolute()
    uri = os.environ["MLFLOW_TRACKING_URI"] = tracking_uri()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    if uri != f"sqlite:///{home / 'mlflow.db'}":
        if path := _file():
            _require_folder(path)
        try:
            with damage_named():
                return MlflowClient()
        except MlflowException as error:
            if OTHER_TABLES not in str(error):
                raise
            raise EnvironmentFailure(f"MLFLOW_TRACKING_URI: {first_line(error)}") from error
    database_file.require_address(home)
    make_private(home)
    # Two processes that open a new SQLite store at once break it: one makes it, the others wait.
    with open(home / "lock", "w") as lock, damage_named():
        fcntl.flock(lock, fcntl.LOCK_EX)
        bring_up_to_date(home)
        move_in(home)
        return MlflowClient()


def _require_folder(path: Path) -> None:
    try:
        require_writable(path.parent)
    except EnvironmentFailure as failure:
        raise EnvironmentFailure(f"MLFLOW_TRACKING_URI: {failure}") from failure


@contextmanager
def damage_named() -> Iterator[None]:
    """Turn what the store's file raises, where it is one, into one line that names it.

    The file is looked at first: MLflow itself would try to open it for minutes.
    """
    path = _file()
    if path is None:
        yield
        return
    database_file.require(path)
    with database_file.failures_named(path):
        yield


def file_failure(error: Exception) -> EnvironmentFailure | None:
    """Return what is wrong with the store's file, where an error is of a file."""
    path, cause = _file(), database_file.find_cause(error)
    return database_file.explain(cause, path) if path and cause else None


def _file() -> Path | None:
    """Return the SQLite file of the configured store; None where that is a server."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(tracking_uri())
    except (ArgumentError, ValueError):
        return None
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def experiment_id(client, name: str) -> str:
    """Return the id of the MLflow experiment of that name, created on first use."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    local = os.environ["MLFLOW_TRACKING_URI"].startswith("sqlite")
    location = (Path("mlflow/artifacts").absolute() / name).as_uri() if local else None
    try:
        return client.create_experiment(name, artifact_location=location)
    except Exception:  # another process was faster
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


def first_line(error: Exception) -> str:
    """Return what an error says, cut to one line of at most 200 characters, or how to log in."""
    if "error code 401" in str(error):
        return "the login is refused; set MLFLOW_TRACKING_PASSWORD (and _USERNAME) to the server's"
    if OTHER_TABLES in str(error):
        return (
            "its database is of another version of MLflow; where it is older, back it up, then "
            "run `.venv/bin/python -m mlflow db upgrade` with its address"
        )
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
