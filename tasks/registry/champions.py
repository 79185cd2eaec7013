"""Who is the champion of a registered model, and who was before: a chain that no race can break.

MLflow moves an alias without asking where it stood. But it numbers a model's versions in one step,
so a second registered model, <name>-champions, is the chain: each version of it is one
appointment and names, by number, the appointment it follows. Of several that follow the same one
the lowest number counts, and the others are void for ever. So there is neither a lock nor a lease:
who dies half-way leaves an appointment that counts or none, and the next one who comes carries it
out.
"""

import random
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffusevae.core.errors import EnvironmentFailure
from diffusevae.tracking.mlflow_store import connect

if TYPE_CHECKING:  # imported where used: MLflow takes seconds
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

CHAMPION = "champion"
FORCED, ROLLED_BACK, LIFTED = "forced", "rolled back", "lifted"
A_PERSONS_WORD = (FORCED, ROLLED_BACK)  # verdicts that the gate may not overrule
TRIES = 20  # of a store that is busy


class Overtaken(EnvironmentFailure):
    """Another became the champion meanwhile; `champion` says which version."""

    def __init__(self, name: str, version: str, before: str | None, champion: str | None) -> None:
        self.champion = champion
        now = f"version {champion} is the champion" if champion else "there is no champion"
        then = f"version {before} was" if before else "there was none"
        super().__init__(
            f"{name}: {now} now, {then} when version {version} was chosen; nothing "
            "was changed; judge again"
        )


@dataclass(frozen=True)
class Appointment:
    """One link of the chain. `before` was the champion when `version` was chosen, "" if none.

    follows: the number of the link before, 0 for the first. carried_out: whether the alias stands
    as this says.
    """

    number: int
    follows: int
    version: str
    before: str
    verdict: str
    reason: str
    token: str
    carried_out: bool


def find_champion(name: str) -> str | None:
    """Return the version of the registered model that has the alias; None where none has."""
    from mlflow.exceptions import MlflowException

    try:
        found = connect().get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return str(found.version)


def list_appointments(name: str) -> list[Appointment]:
    """Return the chain of the registered model's champions, the first one first."""
    versions = connect().search_model_versions(f"name = '{_chain_of(name)}'")
    chain, last = [], 0
    # MLflow reads versions and tags one after the other: what is deleted meanwhile has no tags.
    links = [_read(version) for version in versions if "follows" in version.tags]
    for link in sorted(links, key=lambda each: each.number):
        if link.follows == last:
            chain.append(link)
            last = link.number
    return chain


def find_word(name: str) -> str | None:
    """Return who chose the champion and why, where that was a person, and nobody lifted it since.

    Who moved the alias by hand is a person too.
    """
    chain = list_appointments(name)
    if not chain:
        return None
    last, now = chain[-1], find_champion(name)
    if last.carried_out and now is not None and now != last.version:
        return f"version {now} was chosen by hand: the alias was moved"
    if last.verdict in A_PERSONS_WORD:
        return f"version {last.version} was {last.verdict} {last.reason}"
    return None


def settle(name: str) -> bool:
    """Carry out what a promoter that died had won; return whether there was such a thing."""
    chain = list_appointments(name)
    pending = bool(chain) and not chain[-1].carried_out
    if pending:
        _carry_out(connect(), name, chain)
    return pending


def appoint(name: str, version: str, before: str | None, verdict: str, reason: str) -> None:
    """Make a version the champion in place of `before`, and write the tags that say why.

    Raises Overtaken, having changed nothing, where `before` is the champion no longer.
    """
    from mlflow.exceptions import MlflowException

    client = connect()
    tags = {
        "version": version,
        "before": before or "",
        "gate": verdict,
        "gate_reason": reason,
        "token": uuid.uuid4().hex,
    }
    for attempt in range(TRIES):
        try:
            return _appoint_once(client, name, tags)
        except MlflowException as error:
            # Busy, or silent: whether the link was made, the token tells next time.
            if _is_refusal(error) or attempt == TRIES - 1:
                raise
            time.sleep(random.uniform(0.05, 0.5))


def _appoint_once(client: "MlflowClient", name: str, tags: dict[str, str]) -> None:
    def is_mine(link: Appointment) -> bool:
        return link.token == tags["token"]

    chain = list_appointments(name)
    if not any(map(is_mine, chain)):
        follows = _carry_out(client, name, chain)
        now = find_champion(name)
        if (now or "") != tags["before"]:
            raise Overtaken(name, tags["version"], tags["before"], now)
        made = _append(client, name, tags | {"follows": str(follows)})
        chain = list_appointments(name)
        if not any(map(is_mine, chain)):
            first = next(link.version for link in chain if link.follows == follows)
            client.update_model_version(_chain_of(name), made, f"void: version {first} was faster")
            _carry_out(client, name, chain)
            raise Overtaken(name, tags["version"], tags["before"], chain[-1].version)
    _carry_out(client, name, chain)


def _append(client: "MlflowClient", name: str, tags: dict[str, str]) -> str:
    """Add a link; return its number. It counts or is void from the moment it is there."""
    from mlflow.exceptions import MlflowException

    chain = _chain_of(name)
    try:
        client.create_registered_model(
            chain, description=f"The champions of {name}, one version for each appointment."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        chain,
        f"models:/{name}/{tags['version']}",
        tags=tags,
        description=f"version {tags['version']} after {tags['before'] or 'none'}: "
        f"{tags['gate']}, {tags['gate_reason']}",
    )
    return str(made.version)


def _carry_out(client: "MlflowClient", name: str, chain: list[Appointment]) -> int:
    """Let alias and tags say what the chain's last link says; return that link's number.

    A link that was carried out once is left alone: who moved the alias by hand since, meant it.
    """
    if not chain:
        return 0
    last = chain[-1]
    if last.carried_out:
        return last.number
    while True:
        _write(client, name, last)
        newest = list_appointments(name)[-1]
        if newest.number == last.number:
            client.set_model_version_tag(_chain_of(name), str(last.number), "carried_out", "yes")
            return last.number
        last = newest  # while this one was slow, and what it wrote may be older


def _write(client: "MlflowClient", name: str, link: Appointment) -> None:
    from mlflow.exceptions import MlflowException

    tags = {"gate": link.verdict, "gate_reason": link.reason}
    judged = link.before
    if link.verdict == LIFTED:  # of no version: what was said of the champion stays in its tags
        tags = {}
    elif link.verdict != ROLLED_BACK:
        judged, tags = link.version, tags | {"gate_before": link.before}
    try:
        for key, value in tags.items():
            client.set_model_version_tag(name, judged, key, value)
        client.set_registered_model_alias(name, CHAMPION, link.version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # the version was deleted since
            raise


def _read(version) -> Appointment:
    tags = version.tags
    return Appointment(
        int(version.version),
        int(tags["follows"]),
        tags["version"],
        tags["before"],
        tags["gate"],
        tags["gate_reason"],
        tags["token"],
        "carried_out" in tags,
    )


def _is_refusal(error: "MlflowException") -> bool:
    return error.error_code in (
        "INVALID_PARAMETER_VALUE",
        "RESOURCE_DOES_NOT_EXIST",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
    )


def _chain_of(name: str) -> str:
    return f"{name}-champions"
