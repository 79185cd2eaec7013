"""Bring MLflow's two databases up to date, then be its server; arguments are those of `mlflow`.

Makes or upgrades their tables (once, not in each of the server's processes), and gives the admin
the password that MLFLOW_AUTH_ADMIN_PASSWORD says, which MLflow itself does on its first start only.
"""

import logging
import os
import sys
from configparser import ConfigParser

import psycopg
from guarded_mlflow import run


def upgrade_store(address: str) -> None:
    """Make or upgrade the tables of runs and models."""
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine_with_retry(address)
    if utils._is_empty_database(engine):
        utils._initialize_tables(engine)
    else:
        utils._upgrade_db(engine)
    engine.dispose()


def upgrade_logins(address: str, user: str, password: str) -> None:
    """Make or upgrade the tables of logins; set the admin's password."""
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(address)
    if not store.has_user(user):
        store.create_user(user, password, is_admin=True)
    elif not store.authenticate_user(user, password):
        store.update_user(user, password)
    store.engine.dispose()


def prepare() -> None:
    """Do both. Raises psycopg.OperationalError or MlflowException where a login is refused."""
    settings = ConfigParser(interpolation=None)
    settings.read(os.environ["MLFLOW_AUTH_CONFIG_PATH"])
    runs, logins = os.environ["MLFLOW_BACKEND_STORE_URI"], settings["mlflow"]["database_uri"]
    for address in (runs, logins):  # MLflow itself would try for a minute
        psycopg.connect(address.replace("+psycopg", ""), connect_timeout=10).close()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    upgrade_store(runs)
    upgrade_logins(
        logins, os.environ["MLFLOW_AUTH_ADMIN_USERNAME"], os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"]
    )


def main() -> None:
    """Do it; exit code 3 and one line where a database or the password is not accepted."""
    try:
        prepare()
    except Exception as error:
        from mlflow.exceptions import MlflowException

        if not isinstance(error, (psycopg.OperationalError, MlflowException)):
            raise
        print(f"error: MLflow's databases: {' '.join(str(error).split())[:300]}", file=sys.stderr)
        sys.exit(3)
    run()


if __name__ == "__main__":
    main()
