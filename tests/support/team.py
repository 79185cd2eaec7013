"""The team's services in containers, used from this machine as docs/operations.md says."""

import sys
import tarfile
import time
from pathlib import Path

import requests

from tests.support.checkouts import wait_for
from tests.support.containers import Engine

STORES = ("postgres", "s3")
SERVERS = ("mlflow", "prefect", "optuna-dashboard")
HANG = 7200  # seconds, for a stage or a run
DONE = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Team:
    """Its servers and its worker, and what they have to say."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def start(self, *services: str) -> None:
        """Start these services and wait until they are healthy; without any name all, in order."""
        for together in [services] if services else [STORES, SERVERS, ("bootstrap",)]:
            self.engine.compose("up", "--detach", "--no-deps", *together)
            for service in together:
                if service == "bootstrap":
                    ended = self.engine.run("podman", "wait", self.engine.name(service))
                    assert ended.strip() == "0", self.engine.run(
                        "podman", "logs", self.engine.name(service)
                    )
                else:
                    self.engine.wait(service)
        if not services:
            self.start("worker-cpu")

    def bring_downloads(self) -> None:
        """Put the data sets that smoke needs into the worker's checkout."""
        folder = self.engine.clone
        for name in ("mnist", "alexnet"):
            self.engine.run(sys.executable, "-m", "diffusevae", "download", name)
        archive = folder / "downloads.tar"
        with tarfile.open(archive, "w") as file:
            file.add(folder / "scratch/downloads", "downloads")
        into = ("tar", "-C", "/checkout/scratch", "--no-same-owner", "-xf", "-")
        with open(archive) as file:
            self.engine.execute("worker-cpu", *into, stdin=file)
        archive.unlink()

    def run_smoke(self) -> str:
        """Start the deployment as its page does; return the run's id."""
        deployment = self.ask_prefect("deployments/name/pipeline/smoke")
        return self.ask_prefect(f"deployments/{deployment['id']}/create_flow_run", {})["id"]

    def read_state(self, run: str) -> str:
        """Return a run's state type."""
        return self.ask_prefect(f"flow_runs/{run}")["state_type"]

    def list_stages(self, run: str) -> list[tuple[str, str]]:
        """Return name and state of a run's stages, in order of their start."""
        asked = {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_DESC"}
        found = self.ask_prefect("task_runs/filter", asked)
        return [(each["name"], each["state_type"]) for each in reversed(found)]

    def finish(self, run: str) -> None:
        """Wait until a run is done. Raises AssertionError, with its log, where it failed."""
        state = wait_for(
            lambda: (now := self.read_state(run)) in DONE and now, f"the end of run {run}", HANG
        )
        assert state == "COMPLETED", f"the run is {state}: {self.read_log(run)[-5000:]}"

    def read_log(self, run: str) -> str:
        """Return all lines of a run's log."""
        asked = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        lines: list[str] = []
        while some := self.ask_prefect("logs/filter", asked | {"offset": len(lines)}):
            lines += [each["message"] for each in some]
        return "\n".join(lines)

    def ask_prefect(self, path: str, body: dict | None = None):
        """Return what Prefect's API answers."""
        return self._ask("PREFECT", f"api/{path}", body)

    def ask_mlflow(self, path: str, body: dict | None = None) -> dict:
        """Return what MLflow's API answers."""
        return self._ask("MLFLOW", f"api/2.0/mlflow/{path}", body)

    def _ask(self, server: str, path: str, body: dict | None):
        """Ask until there is an answer: the server may be just restarting."""
        settings = self.engine.settings
        address = f"http://127.0.0.1:{settings[server + '_PORT']}/{path}"
        login = ("admin", settings[server + "_PASSWORD"])
        deadline = time.monotonic() + 300
        while True:
            try:
                method = "GET" if body is None else "POST"
                answer = requests.request(method, address, json=body, auth=login, timeout=60)
                if answer.status_code < 500:
                    break
                failure = answer.text
            except requests.ConnectionError as error:
                failure = str(error)
            assert time.monotonic() < deadline, f"{address}: {failure}"
            time.sleep(1)
        assert answer.ok, f"{address}: {answer.status_code} {answer.text}"
        return answer.json()

    def list_runs(self) -> list[dict]:
        """Return all of MLflow's runs, the latest first."""
        experiments = self.ask_mlflow("experiments/search", {"max_results": 1000})["experiments"]
        asked = {"experiment_ids": [each["experiment_id"] for each in experiments]}
        return self.ask_mlflow("runs/search", asked | {"max_results": 1000}).get("runs", [])

    def list_versions(self) -> list[dict]:
        """Return all versions of all registered models."""
        found = self.ask_mlflow("model-versions/search?max_results=1000")
        return found.get("model_versions", [])

    def read_metric(self, run: dict, name: str) -> list[dict]:
        """Return all values of a run's metric."""
        asked = f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={name}"
        return self.ask_mlflow(asked)["metrics"]

    def list_trials(self) -> list[str]:
        """Return a line for each trial of Optuna's: study|number|state|value."""
        asked = (
            "SELECT study_name, number, state, value FROM trials JOIN studies USING (study_id) "
            "LEFT JOIN trial_values USING (trial_id) ORDER BY 1, 2"
        )
        psql = ("psql", "--username", "postgres", "--dbname", "optuna", "--no-align")
        return self.engine.execute(
            "postgres", *psql, "--tuples-only", "--command", asked
        ).splitlines()

    def hash_objects(self) -> dict[str, str]:
        """Return the SHA-256 of each object in the bucket."""
        script = (
            "python /docker/bucket.py save /tmp/saved && cd /tmp/saved "
            "&& find . -type f -exec sha256sum {} + ; rm -r /tmp/saved"
        )
        given = ("env", "MLFLOW_S3_ENDPOINT_URL=http://s3:8333", "sh", "-c", script)
        lines = self.engine.execute("mlflow", *given).splitlines()
        return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}

    def see_all(self) -> dict:
        """Return all that the services keep."""
        ended = {"flow_runs": {"state": {"type": {"any_": DONE}}}}  # not those that are to come
        flow_runs = self.ask_prefect("flow_runs/filter", ended)
        deployments = self.ask_prefect("deployments/filter", {"sort": "NAME_ASC"})
        found = {
            "runs": {each["info"]["run_id"]: each for each in self.list_runs()},
            "versions": self.list_versions(),
            "flow runs": {each["id"]: (each["name"], each["state_type"]) for each in flow_runs},
            "deployments": [(each["id"], each["name"]) for each in deployments],
            "trials": self.list_trials(),
            "objects": self.hash_objects(),
        }
        return in_order(found)

    def save(self) -> tuple[Path, Path]:
        """Write the backup and DVC's remote to files; return these."""
        backup, remote = self.engine.clone / "backup.tar", self.engine.clone / "remote.tar"
        with open(backup, "w") as file:
            self._run_once("backup", stdout=file)
        with open(remote, "w") as file:
            self._run_once("worker-cpu", "tar", "-C", "/remote", "-cf", "-", ".", stdout=file)
        return backup, remote

    def restore(self, backup: Path, remote: Path) -> None:
        """Bring back what `save` wrote; of the services only the stores may run."""
        with open(backup) as file:
            self._run_once("backup", "/docker/restore.sh", stdin=file)
        with open(remote) as file:
            self._run_once("worker-cpu", "tar", "-C", "/remote", "-xf", "-", stdin=file)

    def _run_once(self, service: str, *command: str, **options) -> None:
        # Without the services it needs: they run, and podman-compose would write of them to the
        # same standard output. Docker activates the profile by itself.
        arguments = ("--profile", "backup", "run", "--rm", "-T", "--no-deps", service)
        self.engine.compose(*arguments, *command, **options)


def in_order(value):
    """Return it with all its lists sorted: a database has its rows in no order of its own."""
    if isinstance(value, dict):
        return {key: in_order(each) for key, each in value.items()}
    return sorted(map(in_order, value), key=repr) if isinstance(value, list) else value
