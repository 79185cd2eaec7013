"""The main job: one experiment from its data to a report and a registered model.

What is up to date is not done again.
"""

from dataclasses import dataclass
from pathlib import Path

from prefect import flow, get_run_logger

from diffusevae.experiment import Experiment, load_experiment
from flows.worker import end_with_worker
from tasks.artifacts import Artifacts
from tasks.dvc import changed_stages, own_checkout
from tasks.gate import judge_candidate
from tasks.parent_run import ParentRun, open_parent_run, read_metrics
from tasks.recording import serve_recorder
from tasks.registry import Registered, find_version, register
from tasks.report import publish
from tasks.stage import StageResult, run_stage


@dataclass(frozen=True)
class Outcome:
    """What a person wants to know at the end."""

    report: Path
    model: Registered


@flow(name="pipeline", flow_run_name="{experiment}")
def pipeline(experiment: str = "quickstart") -> Outcome:
    """Bring an experiment's report and registered model up to date.

    Raises InputError, EnvironmentFailure or StageFailure; each says in one line what to do.
    """
    end_with_worker()
    chosen = load_experiment(experiment)
    with own_checkout():
        targets = plan(chosen)
        if not targets and (version := find_version(chosen)):
            get_run_logger().info(f"nothing changed: every stage of '{experiment}' is up to date")
            return Outcome(publish(chosen), version)
        with open_parent_run(chosen.name, chosen.dataset) as parent:
            shown = Artifacts(chosen.name, len(targets))
            with serve_recorder() as recorder:
                run_stages(chosen, targets, parent, recorder, shown)
            report = publish(chosen)
            version = register(chosen, parent.id)
            judge_candidate(chosen, version.version)
            record(chosen, parent, shown, report, version)
    return Outcome(report, version)


def plan(experiment: Experiment) -> list[str]:
    """Return the targets to bring up to date: all from the first changed one on."""
    targets = experiment.targets
    changed = changed_stages(targets[-1])
    first = next((i for i, target in enumerate(targets) if target in changed), len(targets))
    return targets[first:]


def run_stages(
    experiment: Experiment, targets: list[str], parent: ParentRun, recorder: str, shown: Artifacts
) -> None:
    """Run the targets one by one and record which had something to do."""
    skipped = [StageResult(target, ran=False, seconds=0.0) for target in experiment.targets
               if target not in targets]  # fmt: skip
    results = []
    try:
        for target in targets:
            results.append(run_stage(target, parent.id, recorder))
            shown.count(target)
    finally:
        parent.record_stages(skipped + results)
        shown.show_stages(skipped + results)


def record(
    experiment: Experiment, parent: ParentRun, shown: Artifacts, report: Path, version: Registered
) -> None:
    """Show the metrics in Prefect and keep them, and the report, with the MLflow run."""
    metrics = read_metrics(experiment.output("evaluate", "metrics.json"))
    shown.show_metrics(metrics)
    parent.record_outcome(metrics, version.model_id)
    parent.record_file(report)
