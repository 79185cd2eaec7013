"""What is kept is sent although somebody else writes to the store at the same moment."""

import json
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from diffusevae.tracking.journal import FOLDER, create_journal
from diffusevae.tracking.mlflow_store import connect
from diffusevae.tracking.runs import hash_files
from diffusevae.tracking.sender import send_unsent
from tests.support.records import CLOSE, lines, runs_of

STORE = Path("mlflow/mlflow.db")


@pytest.fixture
def rival(mlflow_store):
    """Another writer, which once enters the same data set between a look and an entry."""

    def enter(session: Session, *_: object) -> None:
        for each in session.new:
            if each.__tablename__ == "datasets" and not entered:
                row = {column.name: getattr(each, column.name) for column in each.__table__.columns}
                row["dataset_uuid"] = "of the rival"
                marks = ", ".join("?" * len(row))
                with sqlite3.connect(STORE) as store:
                    store.execute(
                        f"insert into datasets ({', '.join(row)}) values ({marks})", [*row.values()]
                    )
                entered.append(each.name)

    entered: list[str] = []
    event.listen(Session, "before_flush", enter)
    yield entered
    event.remove(Session, "before_flush", enter)


def test_two_writers_that_enter_the_same_data_set_at_once_lose_nothing(rival, mlflow_store, capfd):
    connect()
    capfd.readouterr()
    path = Path("toy/train.bin")
    path.parent.mkdir()
    path.write_text("images")
    used = {"do": "dataset", "path": str(path), "context": "training"}
    journal = create_journal()
    for line in lines(used | {"sha256": hash_files(path)}, CLOSE):
        journal.append(json.loads(line))
    journal.close()
    assert send_unsent() and rival == ["toy"]
    [run] = runs_of(mlflow_store)
    [found] = run.inputs.dataset_inputs
    assert run.info.status == "FINISHED" and found.dataset.name == "toy"
    assert capfd.readouterr().err == "MLflow: sent what 1 stage could not record at the time\n"
    assert not [*FOLDER.glob("*/*.jsonl")]
