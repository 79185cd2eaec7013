"""The registry's gate: the alias `champion` moves with evidence, and every move leaves a trace.

A person's word (forced, rolled back, or the alias moved by hand) outranks the rule until a person
lifts it: the gate then judges, and promotes nothing.

What is decided stands in the tags of the candidate's version: gate (promoted, held, refused, first,
forced), gate_reason, gate_against, and gate_before, the champion before it. Who loses a race
against another promoter is told (`tasks.registry.champions`), and judges again.
"""

import json
from dataclasses import asdict, dataclass, replace

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from torch import Tensor

from diffusevae.core.errors import InputError
from diffusevae.core.params import build
from diffusevae.core.readback import parse_json
from diffusevae.data.dataset import to_unit
from diffusevae.experiments.experiment import Experiment
from diffusevae.metrics.promotion import HOLD, PROMOTE, REFUSE, Judgement, Made, decide, judge_all
from diffusevae.tracking.mlflow_store import connect
from tasks.parent_run import mlflow_failures
from tasks.registry import champions
from tasks.registry.champions import Overtaken
from tasks.registry.evidence import load_evidence
from tasks.registry.registration import Registered, name_model
from tasks.registry.succession import succeed
from tasks.registry.versions import load_version

ROUNDS = 3  # of judging against a champion that is another by then
DONE = {PROMOTE: "promoted", HOLD: "held", REFUSE: "refused"}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two versions held against each other: what was decided and why, and what both made of real.

    real: the N validation images that both refined, N x C x H x W in [0, 1]. codes: a line for each
    version that worked with other code than is at hand.
    """

    candidate: str
    champion: str
    decision: str
    reason: str
    judgements: list[Judgement]
    real: Tensor
    ours: Made
    theirs: Made
    codes: list[str]


def compare_versions(experiment: Experiment, candidate: str, champion: str) -> Comparison:
    """Let both versions do the same work now, and judge it. Changes nothing in the registry.

    Each works with the code it was registered with, and is judged with the code at hand. Raises
    InputError for a version that cannot be compared (see `load_version`) or whose code fails.
    """
    evidence = load_evidence(experiment)
    ours, theirs = evidence.make(candidate), evidence.make(champion)
    real, reference = to_unit(evidence.refined), evidence.features(evidence.others)
    judgements = judge_all(ours, theirs, real, reference, evidence.features, evidence.config)
    decided = decide(judgements, evidence.list_faults(candidate, ours, theirs))
    return Comparison(candidate, champion, *decided, judgements, real, ours, theirs, evidence.codes)


@task(task_run_name="gate", cache_policy=NO_CACHE)
def judge_candidate(experiment: Experiment, candidate: str) -> Comparison | None:
    """Hold a version against the champion and promote, hold or refuse it.

    Returns None where nothing was compared: the first champion, and the champion itself. The first
    is refused, too, where it gives real images away as new ones or shows few of the classes.
    A candidate that cannot be compared is refused; the reason stands in its tags. Where another
    version becomes the champion meanwhile, it is judged against that one; raises Overtaken where
    that happens again and again.
    """
    for _ in range(ROUNDS - 1):
        try:
            return _judge_once(experiment, candidate)
        except Overtaken as error:
            get_run_logger().warning(f"{error}: going on to do so")
    return _judge_once(experiment, candidate)


def _judge_once(experiment: Experiment, candidate: str) -> Comparison | None:
    say = get_run_logger().info
    with mlflow_failures():
        champions.settle(name_model(experiment))
        champion = find_champion(experiment)
        if champion == candidate:
            with load_version(experiment, candidate):  # it must still be what was registered
                pass
            say(f"version {candidate} is the champion already")
            return None
        if champion is None:
            _judge_first(experiment, candidate)
            return None
        found = _judge_against(experiment, candidate, champion)
    if found is not None:
        say(
            f"version {candidate} against champion {champion}: "
            f"{DONE[found.decision]}, {found.reason}"
        )
    return found


def _judge_first(experiment: Experiment, candidate: str) -> None:
    """Make a version the first champion, unless that would be harmful whatever there is."""
    evidence = load_evidence(experiment)
    made = evidence.make(candidate)
    if faults := evidence.list_faults(candidate, made, None):
        reason = "; ".join(faults)
        _tag(experiment, candidate, gate=DONE[REFUSE], gate_reason=reason)
        get_run_logger().warning(f"version {candidate} is refused: {reason}")
        return
    doubts = evidence.describe_missed(candidate, made, evidence.find_missed(made))
    reason = "; ".join(["there was none before", *doubts])
    _appoint(experiment, candidate, None, "first", reason)
    get_run_logger().info(f"version {candidate} is the first champion: {reason}")


def _judge_against(experiment: Experiment, candidate: str, champion: str) -> Comparison | None:
    """Compare with the champion, write down the evidence, and do what follows from it."""
    try:
        found = compare_versions(experiment, candidate, champion)
    except InputError as error:
        if succeed(experiment, candidate, champion, error):
            return None
        _tag(experiment, candidate, gate="refused", gate_reason=str(error), gate_against=champion)
        get_run_logger().warning(f"version {candidate} is refused: {error}")
        return None
    _tag(
        experiment,
        candidate,
        gate_evidence=json.dumps([asdict(each) for each in found.judgements]),
        gate_against=champion,
        gate_codes="; ".join(found.codes) or "the code at hand",
    )
    word = champions.find_word(name_model(experiment))
    if word and found.decision == PROMOTE:
        reason = (
            f"{found.reason}; but {word}, which stands until `diffusevae lift {experiment.name}`"
        )
        found = replace(found, decision=HOLD, reason=reason)
    if found.decision == PROMOTE:
        _appoint(experiment, candidate, champion, DONE[PROMOTE], found.reason)
    else:
        _tag(experiment, candidate, gate=DONE[found.decision], gate_reason=found.reason)
    return found


def is_judged(version: Registered) -> bool:
    """Return whether the gate has said what it thinks of a version, and done so."""
    with mlflow_failures():
        if champions.settle(version.name):
            return False  # by one that died: who judges now sees where the alias stands
        return "gate" in connect().get_model_version(version.name, version.version).tags


def find_champion(experiment: Experiment) -> str | None:
    """Return the champion's version; None where there is none."""
    return champions.find_champion(name_model(experiment))


def read_verdict(experiment: Experiment, version: str) -> str | None:
    """Return what the gate did with a version (its tag `gate`), None where it did nothing."""
    return connect().get_model_version(name_model(experiment), version).tags.get("gate")


def describe_gate(experiment: Experiment, version: str) -> str:
    """Return in one line what the gate said of a version."""
    tags = connect().get_model_version(name_model(experiment), version).tags
    if "gate" not in tags:
        return f"version {version} was not judged"
    against = f" against version {tags['gate_against']}" if "gate_against" in tags else ""
    was = "is the" if tags["gate"] == "first" else "was"
    what = "first champion" if tags["gate"] == "first" else tags["gate"]
    return f"version {version} {was} {what}{against}: {tags.get('gate_reason', '')}"


def compare_environments(experiment: Experiment, comparison: Comparison) -> list[str]:
    """Return "name: old -> new" of what differs between the champion's environment and ours."""
    theirs, ours = (
        _read_environment(experiment, number)
        for number in (comparison.champion, comparison.candidate)
    )
    return [
        f"{name}: {theirs.get(name, 'unknown')} -> {ours.get(name, 'unknown')}"
        for name in sorted(theirs | ours)
        if theirs.get(name) != ours.get(name)
    ]


def _read_environment(experiment: Experiment, version: str) -> dict[str, str]:
    tags = connect().get_model_version(name_model(experiment), version).tags
    place, mend = f"{name_model(experiment)} version {version}: tag environment", "delete this tag"
    return build(dict, parse_json(tags.get("environment", "{}"), place, mend), place)


def find_newest(experiment: Experiment) -> str:
    """Return the newest version. Raises InputError where there is none."""
    versions = connect().search_model_versions(f"name = '{name_model(experiment)}'")
    if not versions:
        raise InputError(
            f"{name_model(experiment)}: the registry has no version; run "
            f"`make run EXPERIMENT={experiment.name}`"
        )
    return str(max(int(version.version) for version in versions))


def _appoint(
    experiment: Experiment, version: str, before: str | None, verdict: str, reason: str
) -> None:
    champions.appoint(name_model(experiment), version, before, verdict, reason)


def _tag(experiment: Experiment, version: str, **tags: str) -> None:
    client = connect()
    for name, value in tags.items():
        client.set_model_version_tag(name_model(experiment), version, name, value)
