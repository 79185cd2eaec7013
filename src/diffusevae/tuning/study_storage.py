"""Where Optuna's studies lie: in a file of this checkout, or in a database that workers share.

DIFFUSEVAE_OPTUNA_STORAGE names the shared one: postgresql://user:password@host/database, or an
SQLite file for the workers of one machine. What is named there is taken to have other users.
"""

import os
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Timer

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from diffusevae.core import database_file, disk
from diffusevae.core.errors import EnvironmentFailure, InputError, hide_passwords

STORAGE_VARIABLE = "DIFFUSEVAE_OPTUNA_STORAGE"
HEARTBEAT_SECONDS = 20
GRACE_SECONDS = 60  # a trial without a heartbeat for so long has lost its worker
WAIT_SECONDS = 120  # for another worker's transaction
CONNECT_SECONDS = 30  # for a connection
SILENT_SECONDS = 5  # of these, before it is said what is waited for
AWAY_SECONDS = 600  # after which a database that went away is given up
LOCK_KEY = 4_181_106  # of PostgreSQL's advisory locks, ours
AWAY = (StorageInternalError, SQLAlchemyError, EnvironmentFailure)  # what a lost database raises


def is_shared() -> bool:
    """Return whether other workers may use the studies too."""
    return bool(os.environ.get(STORAGE_VARIABLE))


def connect() -> RDBStorage:
    """Return the storage, its tables made where they are missing.

    A shared one tells by heartbeats which trials lost their worker. A file of this checkout from an
    older Optuna is upgraded, after a copy. Raises InputError for an address that is none,
    EnvironmentFailure where nothing answers within CONNECT_SECONDS, where the file is damaged or
    stays locked, or where the tables are of another Optuna.
    """
    url = _url()
    options: dict = (
        {"heartbeat_interval": HEARTBEAT_SECONDS, "grace_period": GRACE_SECONDS}
        if is_shared()
        else {}
    )
    wait, seconds = (
        ("timeout", WAIT_SECONDS) if _is_sqlite(url) else ("connect_timeout", CONNECT_SECONDS)
    )
    options["engine_kwargs"] = {"connect_args": {wait: seconds}, "pool_pre_ping": True}
    with _waiting_said(url), alone(), damage_named(), warnings.catch_warnings():
        if _is_sqlite(url):
            database_file.require(_file(url))
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = _Storage(
            url.render_as_string(hide_password=False), skip_compatibility_check=True, **options
        )
        _fit(storage, url)
    if _is_sqlite(url):
        _serialise(storage.engine)
    return storage


def _fit(storage: RDBStorage, url: sqlalchemy.URL) -> None:
    """Upgrade this checkout's own tables where they are older; others only their owner may."""
    found, ours = storage.get_current_version(), storage.get_head_version()
    if found == ours:
        return
    name = STORAGE_VARIABLE if is_shared() else str(url.database)
    if found not in storage.get_all_versions():
        raise EnvironmentFailure(
            f"{name}: its tables ({found}) are of a newer Optuna; use the "
            "code that made them, or another database"
        )
    if is_shared():
        raise EnvironmentFailure(
            f"{name}: its tables ({found}) are of an older Optuna; when no worker is at work, back "
            'it up, then run `.venv/bin/optuna storage upgrade --storage "$' + name + '"`'
        )
    kept = f"{url.database}.before-{found}"
    with closing(sqlite3.connect(_file(url))) as old, closing(sqlite3.connect(kept)) as new:
        old.backup(new)
    storage.upgrade()
    print(f"{url.database}: upgraded to this Optuna; as it was: {Path(kept).name}", flush=True)


class _Storage(RDBStorage):
    """Optuna's, in which no trial runs without a heartbeat, for without one none is ever stale."""

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(*AWAY):  # else its thread ends here, and the database may come back
            super().record_heartbeat(trial_id)

    def set_trial_state_values(self, trial_id, state, values=None) -> bool:
        if state == TrialState.RUNNING:  # its worker may die before the first of its own
            super().record_heartbeat(trial_id)
        return super().set_trial_state_values(trial_id, state, values)


@contextmanager
def alone() -> Iterator[None]:
    """Keep other workers out, on every machine, until the block ends; or its process dies.

    Raises InputError and EnvironmentFailure as `connect` does.
    """
    url = _url()
    if _is_sqlite(url):
        with disk.lock(Path(f"{url.database}.lock")):
            yield
        return
    options = {"connect_timeout": CONNECT_SECONDS}
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=options)
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise EnvironmentFailure(
            f"{STORAGE_VARIABLE}: {url.render_as_string()} does not answer "
            f"({str(error.orig).splitlines()[0]}); start it or mend the "
            "address"
        ) from error
    with connection:
        connection.execute(sqlalchemy.text(f"SELECT pg_advisory_lock({LOCK_KEY})"))
        yield


@contextmanager
def damage_named() -> Iterator[None]:
    """Turn what the storage's file raises, where it is one, into one line that names it."""
    url = _url()
    with database_file.failures_named(_file(url)) if _is_sqlite(url) else nullcontext():
        yield


@contextmanager
def _waiting_said(url: sqlalchemy.URL) -> Iterator[None]:
    """Say what is waited for, once, where a server and its other users let us wait."""
    text = hide_passwords(
        f"waiting for {url.render_as_string()}, to connect up to {CONNECT_SECONDS:g} s"
    )
    timer = Timer(SILENT_SECONDS, lambda: print(text, flush=True))
    timer.daemon = True
    if not _is_sqlite(url):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def wait_for_it(failure: Exception) -> None:
    """Return when the database that went away, by `failure`, answers again.

    Raises EnvironmentFailure where that takes too long, or where the storage is a file.
    """
    deadline = time.monotonic() + AWAY_SECONDS
    while True:
        if _is_sqlite(_url()):
            with damage_named():
                raise failure
        try:
            with alone():
                return
        except EnvironmentFailure:
            if time.monotonic() > deadline:
                raise
            time.sleep(2)


def _file(url: sqlalchemy.URL) -> Path:
    assert url.database is not None  # of a SQLite address: `_url` sees to it
    return Path(url.database)


def _url() -> sqlalchemy.URL:
    given = os.environ.get(STORAGE_VARIABLE)
    if not given:
        return sqlalchemy.make_url(f"sqlite:///{Path('scratch/studies/optuna.db').absolute()}")
    try:
        url = sqlalchemy.make_url(given)
        kind = url.get_backend_name()
    except (ArgumentError, ValueError):  # its text would show the password
        kind = "no address"
    if kind == "sqlite" and url.database:
        return url
    if kind == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    raise InputError(
        f"{STORAGE_VARIABLE}: {kind} is not what it can be; write "
        "postgresql://user:password@host/database or sqlite:////path/of/file.db"
    )


def _is_sqlite(url: sqlalchemy.URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _serialise(engine: sqlalchemy.Engine) -> None:
    """Let one transaction after the other change the file.

    Python's sqlite3 begins one only at the first change, so what two workers read before it, such
    as that a trial waits, could both lead them to take it.
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def begin_nothing(connection, record) -> None:
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before know nothing of this
