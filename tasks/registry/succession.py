"""A champion whose files are lost or damaged is followed by a version that holds the same."""

from prefect import get_run_logger

from diffusevae.core.errors import InputError
from diffusevae.experiments.experiment import Experiment
from diffusevae.tracking.mlflow_store import connect
from tasks.registry import champions
from tasks.registry.champions import FORCED
from tasks.registry.registration import name_model
from tasks.registry.versions import load_version

TAGS = ("vae_sha256", "prior_sha256", "diffusevae_sha256", "code_sha256", "sampler")


def succeed(experiment: Experiment, candidate: str, champion: str, error: InputError) -> bool:
    """Let a sound candidate follow a champion that cannot be used, if both were registered of the
    same models, code and sampler; return whether that is so.

    error: why the champion cannot be used. What a person chose still counts as a person's choice.
    Raises Overtaken where another moves the alias meanwhile.
    """
    name = name_model(experiment)
    ours, theirs = (
        connect().get_model_version(name, number).tags for number in (candidate, champion)
    )
    if any(tag not in ours or ours[tag] != theirs.get(tag) for tag in TAGS):
        return False
    try:
        with load_version(experiment, candidate):
            pass
    except InputError:
        return False
    word = champions.find_word(name)
    reason = f"the same models as version {champion}, which cannot be used: {error}"
    champions.appoint(
        name,
        candidate,
        champion,
        FORCED if word else "promoted",
        f"{word}; {reason}" if word else reason,
    )
    get_run_logger().warning(f"version {candidate} is the champion now: {reason}")
    return True
