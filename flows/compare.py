"""Hold two versions of a registered model against each other, and decide which is the champion.

What a person promotes or rolls back stands until it is lifted, whatever later runs make.
"""

from prefect import flow, get_run_logger

from diffusevae.core.disk import require_writable
from flows.prefect_server import server_at_hand
from tasks.parent_run import mlflow_failures, require_mlflow


@flow(name="compare", flow_run_name="{experiment}")
@mlflow_failures()
def compare(
    experiment: str,
    candidate: str | None = None,
    champion: str | None = None,
    reason: str | None = None,
) -> None:
    """Judge the candidate (the newest version if None) against the champion, and move the alias.

    With `champion`, a version, nothing is moved; with `reason` the candidate becomes the champion
    whatever is measured. Raises InputError, EnvironmentFailure.
    """
    from diffusevae.experiments.experiment import load_experiment
    from tasks.registry import gate, person
    from tasks.report.publication import REPORTS
    from tasks.report.rerun_page import write_page

    require_writable(REPORTS)
    chosen = load_experiment(experiment)
    candidate = candidate or gate.find_newest(chosen)
    say = get_run_logger().info
    if reason is not None:
        person.force(chosen, candidate, reason)
        say(f"version {candidate} is the champion now, by force: {reason}")
        return
    if champion is None:
        found = gate.judge_candidate(chosen, candidate)
    else:
        found = gate.compare_versions(chosen, candidate, champion)
    if found is None:
        return
    for code in found.codes:
        say(f"made with {code}")
    for each in found.judgements:
        say(
            f"{each.metric}: {each.candidate:.5g} against {each.champion:.5g}, difference "
            f"{each.difference['value']:+.3g} [{each.difference['low']:+.3g}, "
            f"{each.difference['high']:+.3g}]: {each.verdict}"
        )
    name = f"{experiment}-{candidate}-against-{found.champion}"
    say(f"{found.decision}: {found.reason}; {write_page(chosen, name, found)}")


def show(
    experiment: str,
    candidate: str | None = None,
    champion: str | None = None,
    reason: str | None = None,
) -> None:
    """Compare as `compare` does, on the user's Prefect server or one for the time of it."""
    with server_at_hand(require_mlflow):
        compare(experiment, candidate, champion, reason)


def roll_back(experiment: str) -> None:
    """Make the champion before the champion again; say which. Raises InputError and others."""
    from diffusevae.experiments.experiment import load_experiment
    from tasks.registry import person

    require_mlflow()
    print(f"champion  version {person.roll_back(load_experiment(experiment))}")


def lift(experiment: str) -> None:
    """Let the rule decide again, and do so now. Raises InputError and others."""
    from diffusevae.experiments.experiment import load_experiment
    from tasks.registry import person

    require_mlflow()
    print(f"lifted    {person.lift(load_experiment(experiment))}")
    show(experiment)
