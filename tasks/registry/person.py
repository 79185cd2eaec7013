"""What a person decides of a registered model's champion; it stands until a person lifts it."""

import getpass

from diffusevae.core.errors import InputError
from diffusevae.experiments.experiment import Experiment
from diffusevae.tracking.mlflow_store import connect
from tasks.parent_run import mlflow_failures
from tasks.registry import champions
from tasks.registry.champions import FORCED, LIFTED, ROLLED_BACK
from tasks.registry.gate import find_champion
from tasks.registry.registration import name_model
from tasks.registry.versions import load_version


def force(experiment: Experiment, candidate: str, reason: str) -> None:
    """Make a version the champion whatever the rule says; who, and why, stands in its tags.

    Raises Overtaken where another does that, or is promoted, at the same time.
    """
    with mlflow_failures():
        before = find_champion(experiment)
        if before == candidate:  # it would be named as the champion before itself
            raise InputError(
                f"{name_model(experiment)} version {candidate}: is the champion already"
            )
        with load_version(experiment, candidate):  # no reason makes a damaged version whole
            pass
        champions.appoint(
            name_model(experiment), candidate, before, FORCED, f"by {getpass.getuser()}: {reason}"
        )


def roll_back(experiment: Experiment) -> str:
    """Give the alias back to the champion before; return its version.

    Raises InputError where there was none, Overtaken where another moves the alias meanwhile.
    """
    with mlflow_failures():
        champion = find_champion(experiment)
        tags = champion and connect().get_model_version(name_model(experiment), champion).tags
        before = (tags or {}).get("gate_before")
        if not before:
            raise InputError(
                f"{name_model(experiment)}: there is no champion before "
                f"{champion or 'the first'} to go back to"
            )
        with load_version(experiment, before):
            pass
        champions.appoint(
            name_model(experiment),
            before,
            champion,
            ROLLED_BACK,
            f"by {getpass.getuser()}, to version {before}",
        )
    return before


def lift(experiment: Experiment) -> str:
    """Let the rule decide again from here on; return the word that stood until now.

    Raises InputError where none stood, Overtaken where another moves the alias meanwhile.
    """
    with mlflow_failures():
        champions.settle(name_model(experiment))
        champion, word = find_champion(experiment), champions.find_word(name_model(experiment))
        if champion is None or word is None:
            raise InputError(
                f"{name_model(experiment)}: the champion was not chosen by a person; "
                "there is nothing to lift"
            )
        champions.appoint(
            name_model(experiment), champion, champion, LIFTED, f"by {getpass.getuser()}"
        )
    return word
