"""Make an experiment's results again in a clean folder and compare every file with dvc.lock.

Everything runs once more, from the downloads on, with nothing cached; the results that are here
stay as they are. Ends with 0 where every byte is the same, else with 1 and one line: the stage that
made something else, the file, and the tensor or line in it.
"""

import tempfile
from pathlib import Path

from diffusevae.core.disk import SCRATCH, make_private
from diffusevae.core.errors import InputError
from diffusevae.core.yaml_file import read_yaml
from diffusevae.experiments.experiment import load_experiment, load_latent_study
from diffusevae.experiments.params_file import PARAMS_FILE
from tasks.checkout import require_checkout, require_repository
from tasks.dvc.checkout_lock import own_checkout
from tasks.dvc.lock import read_lock
from tasks.probe.trial_checkout import make_folder
from tasks.registry.origin import check_out, find_origin
from tasks.registry.registration import MODEL_PREFIX
from tasks.reproduction import (
    NotReproduced,
    list_other_packages,
    make_again,
    require_results,
    run_again,
)


def reproduce(name: str) -> None:
    """Make results again and compare them: an experiment's, a latent study's, a MODEL/VERSION's.

    Raises NotReproduced where they are not the same; InputError, EnvironmentFailure, StageFailure.
    """
    if "/" in name:
        return reproduce_version(name)
    require_checkout()
    experiments, studies = (
        read_yaml(PARAMS_FILE).get(root) or {} for root in ("experiments", "latent_studies")
    )
    if name not in experiments and name.removeprefix(MODEL_PREFIX) in experiments:
        raise InputError(f"{name}: is a model; name the version as well, such as {name}/1")
    study = name in studies
    chosen = (load_latent_study if study else load_experiment)(name)
    make_private(SCRATCH)
    with own_checkout(), tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        lock = read_lock()
        require_results(chosen, lock)
        try:
            make_again(chosen.targets, lock, Path(folder) / "clean", _say)
        except NotReproduced as difference:
            others = list_other_packages()
            if not others:
                raise
            raise NotReproduced(
                f"{difference}; packages other than in constraints.txt: {', '.join(others)}"
            ) from difference
    print(f"{chosen.name}: every file of {len(chosen.targets)} stages is the same, to the byte")


def reproduce_version(model: str) -> None:
    """Make a registered version, MODEL/VERSION, again from its commit, in a folder of its own.

    Raises as `reproduce` does.
    """
    require_checkout()
    require_repository()  # DVC may have been told to do without
    origin = find_origin(model)
    folder = SCRATCH / "reproduced" / model.replace("/", "-")
    make_private(SCRATCH)
    with own_checkout():
        lock = check_out(origin, folder)
        chosen = load_experiment(origin.experiment, folder / PARAMS_FILE)
        if missing := [each for each in chosen.targets if each not in lock.get("stages", {})]:
            raise InputError(f"{model}: the dvc.lock of its run has no {missing[0]}")
        print(f"{model}: commit {origin.commit[:12]} in {folder}", flush=True)
        make_folder(folder)
        run_again(chosen.targets, lock, folder, _say, own=True)
    print(f"{model}: every file of {len(chosen.targets)} stages is the same, to the byte")


def _say(line: str) -> None:
    print(line, flush=True)
