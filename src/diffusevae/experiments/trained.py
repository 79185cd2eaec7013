"""What an experiment's models were really trained with."""

from diffusevae.core.params import load_sections
from diffusevae.experiments.experiment import Experiment
from diffusevae.experiments.params_file import PARAMS_FILE, load_stage

SEARCHED_BY = {"train_vae": "tune_vae", "train_ddpm": "tune_ddpm", "train_diffusevae": "tune_ddpm"}


def load_trained(experiment: Experiment) -> dict[str, object]:
    """Return the sections of the trainings of a finished experiment, what the searches found in
    place of params.yaml's values. Raises InputError.
    """
    found: dict[str, object] = {}
    for stage, search in SEARCHED_BY.items():
        module = load_stage(stage)
        params = load_sections(PARAMS_FILE, "experiments", experiment.name, module.SECTIONS)
        found |= vars(module.TUNED(params, experiment.output(search, "best.yaml")))
    return found
