"""MLflow's store in ./mlflow: it goes where its folder goes, and is brought up to date.

MLflow writes absolute addresses of artifacts into its database, which are those of another folder
once a checkout was moved, renamed or copied; and it refuses a database of another version of its
own.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from diffusevae.core.errors import EnvironmentFailure

ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
WAIT_SECONDS = 30  # for another process's transaction


def move_in(home: Path) -> None:
    """Let every address in home/mlflow.db that named another home name this one.

    Nothing is done where there is no store yet. Raises sqlite3.Error.
    """
    path = home / "mlflow.db"
    if not path.is_file():
        return
    with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as database, database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if "experiments" not in tables:
            return
        for old in _find_homes(database) - {home.as_uri()}:
            for table, column in ADDRESSES:
                if table in tables:
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (home.as_uri(), len(old) + 1, len(old) + 1, f"{old}/"),
                    )


def _find_homes(database: sqlite3.Connection) -> set[str]:
    """Return the homes, as file: addresses, in which experiments were made."""
    homes = set()
    for name, location in database.execute("SELECT name, artifact_location FROM experiments"):
        end = f"/artifacts/{quote(name)}"
        if location and location.startswith("file:///") and location.endswith(end):
            homes.add(location.removesuffix(end))
    return homes


def bring_up_to_date(home: Path) -> None:
    """Bring the tables of home/mlflow.db, where they are older, to those of this MLflow.

    As it was it stays beside, as mlflow.db.before-REVISION. Raises EnvironmentFailure where the
    store is of a newer MLflow, sqlite3.Error.
    """
    path = home / "mlflow.db"
    if not path.is_file():
        return
    from mlflow.store.db.utils import _get_latest_schema_revision

    with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as database:
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
        query = "SELECT version_num FROM alembic_version"
        row = database.execute(query).fetchone() if ("alembic_version",) in tables else None
    if row and row[0] != _get_latest_schema_revision():
        _upgrade(path, row[0])


def _upgrade(path: Path, revision: str) -> None:
    """Upgrade in a copy, which takes the store's place when it is done."""
    import sqlalchemy
    from alembic.util import CommandError
    from mlflow.store.db.utils import _upgrade_db

    copy = path.with_name(f"{path.name}.upgraded")
    kept = path.with_name(f"{path.name}.before-{revision}")
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
    engine = sqlalchemy.create_engine(f"sqlite:///{copy}")
    try:
        _upgrade_db(engine)
    except CommandError as error:  # a revision that this MLflow does not know
        copy.unlink()
        raise EnvironmentFailure(
            f"{path}: is of a newer MLflow (its tables are {revision}); use the code that made it, "
            "or move ./mlflow away to begin anew"
        ) from error
    finally:
        engine.dispose()
    kept.unlink(missing_ok=True)
    os.link(path, kept)  # so that there is a store at every moment
    copy.replace(path)
    print(f"{path}: upgraded to this MLflow; as it was: {kept.name}", flush=True)
