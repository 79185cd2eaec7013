"""Lines that a recorder reads, and the runs that it makes of them."""

import json

from mlflow import MlflowClient

CLOSE = {"do": "close", "status": "FINISHED"}


def lines(*messages: dict) -> list[bytes]:
    """Return what a recorder reads: a run is opened, then the messages."""
    opened = {
        "do": "open",
        "name": "stage",
        "parent": None,
        "params": {"a": "1"},
        "tags": {},
        "experiment": "toy",
    }
    return [
        json.dumps({"run": 0, "milliseconds": 1000 + i} | message).encode()
        for i, message in enumerate((opened, *messages))
    ]


def runs_of(client: MlflowClient, name: str = "toy") -> list:
    """Return the runs of an MLflow experiment, none where there is no such one."""
    experiment = client.get_experiment_by_name(name)
    return client.search_runs([experiment.experiment_id]) if experiment else []
