"""Hold two versions of a registered model against each other, and decide which is the champion.

    python -m flows.compare quickstart                    the newest version against the champion
    python -m flows.compare quickstart 3 5                version 3 against 5; changes nothing
    python -m flows.compare quickstart --force "reason"   the newest becomes the champion
    python -m flows.compare quickstart --rollback         the champion before is the champion again
    python -m flows.compare quickstart --lift             the rule decides again, and does so now

What a person chose by --force or --rollback stands until --lift, whatever later runs make.
"""

import argparse
import sys

from prefect import flow, get_run_logger

from diffusevae.core.disk import require_writable
from diffusevae.core.errors import InputError
from flows.prefect_server import server_at_hand
from tasks.parent_run import mlflow_failures, require_mlflow
from tasks.terminal import run_on_terminal


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


def main(arguments: list[str]) -> int:
    """Do what the command line asks; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment")
    parser.add_argument("versions", nargs="*", metavar="version")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--force", metavar="REASON")
    act.add_argument("--rollback", action="store_true")
    act.add_argument("--lift", action="store_true")
    return run_on_terminal(lambda: _run(parser.parse_args(arguments)))


def _run(given: argparse.Namespace) -> None:
    most = 0 if given.rollback or given.lift else 1 if given.force is not None else 2
    if len(given.versions) > most:
        raise InputError(
            f"versions {' '.join(given.versions)}: at most two, one with --force, "
            "none with --rollback or --lift"
        )
    if given.rollback:
        from diffusevae.experiments.experiment import load_experiment
        from tasks.registry.person import roll_back

        require_mlflow()
        print(f"champion  version {roll_back(load_experiment(given.experiment))}")
        return
    if given.lift:
        from diffusevae.experiments.experiment import load_experiment
        from tasks.registry.person import lift

        require_mlflow()
        print(f"lifted    {lift(load_experiment(given.experiment))}")
    with server_at_hand(require_mlflow):
        candidate, champion, *_ = (*map(str, given.versions), None, None)
        compare(given.experiment, candidate, champion, given.force)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
