"""Where an experiment stands: which stages are up to date, its report, its models."""

from dataclasses import dataclass
from pathlib import Path

from diffusevae.experiments.experiment import Experiment
from diffusevae.tracking.journal import count_unsent
from diffusevae.tracking.mlflow_store import connect, tracking_uri
from tasks.checkout import require_checkout
from tasks.dvc.checkout_lock import find_holder
from tasks.dvc.process import changed_stages
from tasks.parent_run import mlflow_failures, require_mlflow
from tasks.registry.champions import find_champion
from tasks.registry.registration import name_model
from tasks.report.publication import REPORTS, read_timings


@dataclass(frozen=True)
class Standing:
    """What a person wants to know of an experiment between two runs.

    stages: "up to date", "changed" or "to be made anew" (for one before it changed) by target;
    seconds: what a stage took when it last ran here; report: where there is one; at_work: the PID
    of a run; unsent: records that MLflow has not taken yet.
    """

    stages: dict[str, str]
    seconds: dict[str, float]
    report: Path | None
    model: str
    versions: int
    champion: str | None
    at_work: str | None
    unsent: int


def find_standing(experiment: Experiment) -> Standing:
    """Return where an experiment stands. Raises EnvironmentFailure, InputError."""
    require_checkout()
    at_work = find_holder()
    targets = experiment.targets
    changed = set() if at_work else changed_stages(*targets)
    first = next((i for i, target in enumerate(targets) if target in changed), len(targets))
    stages = {
        target: "up to date" if i < first else "changed" if target in changed else "to be made anew"
        for i, target in enumerate(targets)
    }
    report, name = REPORTS / f"{experiment.name}.html", name_model(experiment)
    versions, champion = _look_up(name)
    return Standing(
        {} if at_work else stages,
        {name: took.get("seconds", 0.0) for name, took in read_timings(experiment).items()},
        report if report.is_file() else None,
        name,
        versions,
        champion,
        at_work,
        count_unsent()[0],
    )


def _look_up(name: str) -> tuple[int, str | None]:
    """Return how many versions the model has, and the champion; a store is not made for that."""
    uri = tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        return 0, None
    require_mlflow()
    with mlflow_failures():
        return len(connect().search_model_versions(f"name = '{name}'")), find_champion(name)
