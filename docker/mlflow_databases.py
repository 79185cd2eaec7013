"""Bring MLflow's two databases up to date before its server starts.

Makes or upgrades their tables (once, not in each of the server's processes), and gives the admin
the password that MLFLOW_AUTH_ADMIN_PASSWORD says, which MLflow itself does on its first start only.
"""

import logging
import os
import sys

import psycopg
from mlflow.exceptions import MlflowException
from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.db import utils


def check_connection(address: str) -> None:
    """Raise psycopg.OperationalError at once where MLflow itself would try for a minute."""
    psycopg.connect(address.replace("+psycopg", ""), connect_timeout=10).close()


def upgrade_store(address: str) -> None:
    """Make or upgrade the tables of runs and models."""
    check_connection(address)
    engine = utils.create_sqlalchemy_engine_with_retry(address)
    if utils._is_empty_database(engine):
        utils._initialize_tables(engine)
    else:
        utils._upgrade_db(engine)
    engine.dispose()


def upgrade_logins() -> None:
    """Make or upgrade the tables of logins; set the admin's password."""
    settings = read_auth_config()
    check_connection(settings.database_uri)
    store = SqlAlchemyStore()
    store.init_db(settings.database_uri)
    user, password = settings.admin_username, settings.admin_password
    if not store.has_user(user):
        store.create_user(user, password, is_admin=True)
    elif not store.authenticate_user(user, password):
        store.update_user(user, password)


def main() -> int:
    """Do both; return 0, or 3 with one line where the database or the password is not accepted."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        upgrade_store(os.environ["MLFLOW_BACKEND_STORE_URI"])
        upgrade_logins()
    except (psycopg.OperationalError, MlflowException) as error:
        print(f"error: MLflow's databases: {' '.join(str(error).split())[:300]}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
