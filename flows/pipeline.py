"""The main job: one experiment from its data to a report and a registered model.

What is up to date is not done again.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, get_run_logger

from diffusevae.core.disk import require_writable
from diffusevae.core.errors import EnvironmentFailure
from diffusevae.experiments.experiment import Experiment, LatentStudy, load_experiment
from diffusevae.experiments.trained import load_trained
from diffusevae.tracking.sender import send_unsent
from flows.alerts import tell_verdict
from flows.worker import end_with_worker, started_by_worker
from tasks.artifacts import Artifacts
from tasks.dvc.checkout_lock import own_checkout
from tasks.dvc.lock import LOCK, Changes, commit_lock, find_changes, read_lock
from tasks.dvc.outputs import discard, find_damaged
from tasks.dvc.process import changed_stages, has_remote, pull, push
from tasks.parent_run import ParentRun, close_abandoned, open_parent_run, read_metrics
from tasks.recording import serve_recorder
from tasks.registry.gate import (
    Comparison,
    compare_environments,
    describe_gate,
    is_judged,
    judge_candidate,
)
from tasks.registry.model_card import measure_version
from tasks.registry.registration import (
    Registered,
    find_version,
    is_recorded,
    mark_recorded,
    register,
)
from tasks.report.publication import REPORTS, publish
from tasks.report.rerun_page import Rerun, write_page
from tasks.screen import show_stages
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
        require_writable(REPORTS)
        send_unsent()
        close_abandoned(experiment)
        lock = read_lock()
        reached = has_remote() and pull_results(chosen)
        targets = plan(chosen, lock)
        version = None if targets else find_version(chosen)
        if version and is_judged(version) and is_recorded(version):
            get_run_logger().info(f"nothing changed: every stage of '{experiment}' is up to date")
            write_rerun(chosen, find_changes(lock, lock, chosen.targets), [])
            outcome = Outcome(publish(chosen), version)
            hand_on(chosen, version, reached)
        else:
            outcome = bring_up_to_date(chosen, targets, lock, reached)
            hand_on(chosen, outcome.model, has_remote())
    return outcome


def bring_up_to_date(
    experiment: Experiment, targets: list[str], lock: dict, remote: bool
) -> Outcome:
    """Run the targets, register, judge and record what they made.

    Each step looks at what is there, so a run that was killed in any of them is finished by the
    next one. lock: what dvc.lock held before; remote: whether DVC's remote answers.
    """
    with open_parent_run(experiment.name, experiment.dataset) as parent:
        shown = Artifacts(experiment.name, len(targets))
        with serve_recorder() as recorder:
            stages = run_stages(experiment, targets, parent, recorder, shown, remote)
        report = publish(experiment)
        version = register(experiment, parent.id)
        judged = is_judged(version)
        comparison = None if judged else judge_candidate(experiment, version.version)
        changes = find_changes(lock, read_lock(), experiment.targets)
        rerun = write_rerun(experiment, changes, stages, version.version, comparison)
        if not judged:
            tell_verdict(experiment, version.version, rerun)
        parent.record_params(load_trained(experiment))
        metrics = read_metrics(experiment.output("evaluate", "metrics.json"))
        record(metrics, measure_version(experiment), parent, shown, version, [report, rerun, LOCK])
    return Outcome(report, version)


def hand_on(experiment: Experiment | LatentStudy, version: Registered, remote: bool) -> None:
    """Send what this run, or one that was killed before it could, has made to the others.

    remote: whether to send to DVC's remote. Raises EnvironmentFailure where that fails.
    """
    if remote:
        push(experiment.targets[-1])
    if started_by_worker():
        keep_lock(experiment.name, version)


def pull_results(experiment: Experiment | LatentStudy) -> bool:
    """Take what other machines have made from DVC's remote; without it, it is made here.

    Returns whether the remote answered.
    """
    try:
        pull(experiment.targets[-1])
        return True
    except EnvironmentFailure as failure:
        get_run_logger().warning(f"DVC's remote: {failure}; going on with what is here")
        return False


def plan(experiment: Experiment | LatentStudy, lock: dict) -> list[str]:
    """Return the targets to bring up to date: all from the first changed one on.

    What DVC takes for unchanged but is not what dvc.lock (its content) says is discarded, and so
    to be made.
    """
    targets = experiment.targets
    changed = changed_stages(*targets)
    if discard_damaged(lock, [target for target in targets if target not in changed]):
        changed = changed_stages(*targets)
    first = next((i for i, target in enumerate(targets) if target in changed), len(targets))
    return targets[first:]


def discard_damaged(lock: dict, targets: list[str]) -> list[str]:
    """Remove the outputs of targets that are damaged, saying so; return these targets."""
    damaged = find_damaged(lock, targets)
    for target in damaged:
        wrong = discard(lock, target)
        get_run_logger().warning(
            f"{target}: its output is not what dvc.lock says"
            + (f", nor are objects of DVC's cache ({', '.join(wrong)})" if wrong else "")
            + "; discarded, and to be had anew"
        )
    return damaged


def run_stages(
    experiment: Experiment | LatentStudy,
    targets: list[str],
    parent: ParentRun,
    recorder: str,
    shown: Artifacts,
    remote: bool,
) -> list[StageResult]:
    """Run the targets one by one; record and return which had something to do.

    remote: whether to ask DVC's remote for what another machine has made of the same.
    """
    skipped = [
        StageResult(target, ran=False, seconds=0.0)
        for target in experiment.targets
        if target not in targets
    ]
    results = []
    try:
        with show_stages(len(targets)):
            for target in targets:
                result = run_stage(target, parent.id, recorder, remote)
                # What DVC's cache held may be damaged.
                if not result.ran and discard_damaged(read_lock(), [target]):
                    result = run_stage(target, parent.id, recorder, remote)
                results.append(result)
                shown.count(target)
    finally:
        parent.record_stages(skipped + results)
        shown.show_stages(skipped + results)
    return skipped + results


def write_rerun(
    experiment: Experiment,
    changes: Changes,
    stages: list[StageResult],
    version: str = "",
    comparison: Comparison | None = None,
) -> Path:
    """Write reports/<experiment>-rerun.html: what changed, what ran, what the gate said."""
    verdict = describe_gate(experiment, version) if version else "nothing new to judge"
    environment = compare_environments(experiment, comparison) if comparison else []
    rerun = Rerun(changes, environment, stages, verdict)
    return write_page(experiment, f"{experiment.name}-rerun", comparison, rerun)


def keep_lock(experiment: str, version: Registered) -> None:
    """Commit dvc.lock to the experiment's branch of reruns; what fails there costs no result."""
    logger = get_run_logger()
    try:
        commit = commit_lock(
            experiment, f"Rerun of {experiment}: {version.name} version {version.version}"
        )
        logger.info(
            f"dvc.lock: {f'commit {commit[:12]} on' if commit else 'as it is on'} "
            f"reruns/{experiment}"
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning(f"dvc.lock: not committed ({error}); commit it by hand")


def record(
    metrics: Mapping[str, float],
    of_model: Mapping[str, float],
    parent: ParentRun,
    shown: Artifacts,
    version: Registered,
    files: list[Path],
) -> None:
    """Show the metrics in Prefect and keep them, and the files, with the MLflow run.

    of_model: those that belong to the version as it is registered.
    """
    shown.show_metrics(metrics)
    parent.record_outcome(metrics, of_model, version.model_id)
    for path in files:
        parent.record_file(path)
    mark_recorded(version, parent.id)
