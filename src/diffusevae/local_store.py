"""MLflow's store in ./mlflow: it goes where its folder goes, and is brought up to date.

MLflow writes absolute addresses of artifacts into its database, which are those of another folder
once a checkout was moved, renamed or copied; and it refuses a database of another version of its
own.
"""

import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from diffusevae.errors import EnvironmentFailure

ADDRESSES = (("experiments", "artifact_location"), ("runs", "artifact_uri"),
             ("logged_models", "artifact_location"), ("model_versions", "storage_location"))
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
                        (home.as_uri(), len(old) + 1, len(old) + 1, f"{old}/"))  # fmt: skip


def _find_homes(database: sqlite3.Connection) -> set[str]:
    """Return the homes, as file: addresses, in which experiments were made."""
    homes = set()
    for name, location in database.execute("SELECT name, artifact_location FROM experiments"):
        end = f"/artifacts/{quote(name)}"
        if location and location.startswith("file:///") and location.endswith(end):
            homes.add(location.removesuffix(end))
    return homes


def bring_up_to_date(home: Path) -> None:
    """Bring the schema of home/mlflow.db to this MLflow's where another one used it last.

    A copy is kept beside it. Raises EnvironmentFailure where the store is of a newer MLflow.
    """
    path, used_by = home / "mlflow.db", home / "version"
    installed = version("mlflow")
    if used_by.is_file() and used_by.read_text(encoding="utf-8") == installed:
        return
    if path.is_file():
        copy = home / "mlflow.db.before-upgrade"
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{path}"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise EnvironmentFailure(f"{path}: cannot be brought to MLflow {installed} "
                                     f"({reason[:120]}); use the version that made it, or move "
                                     "./mlflow away to begin anew")
    used_by.write_text(installed, encoding="utf-8")
