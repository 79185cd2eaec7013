"""Compare first stages and the priors over their codes. Not part of the flow: run it when wanted.

python -m diffusevae.stages priors smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --test data/prepared/mnist_tiny/test.safetensors --best artifacts/smoke/tune_vae/best.yaml \\
    --train_vae artifacts/smoke/train_vae --train_diffusevae artifacts/smoke/train_diffusevae \\
    --classifier data/train_classifier/mnist_tiny/model.safetensors --out artifacts/smoke/priors
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split
from diffusevae.models.classifier import load_classifier
from diffusevae.sampling.generation import load_pair
from diffusevae.studies.priors.priors_results import SECTIONS, Priors
from diffusevae.training.stage_trainings import open_trainings
from diffusevae.training.vae_training import check_parts
from diffusevae.tuning.search_space import apply_best

ROOT = "experiments"
TUNED = apply_best
__all__ = ["ROOT", "SECTIONS", "TUNED", "run"]


def run(
    params,
    *,
    train: Path,
    validation: Path,
    test: Path,
    train_vae: Path,
    train_diffusevae: Path,
    classifier: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write table.csv, mixtures.csv, probes.csv, table.png and images.png to `out`.

    Raises InputError for a first stage that cannot be trained as vae_optimiser says.
    """
    for stage in params.priors.first_stages:
        check_parts(params.vae_optimiser, stage.kind)
    device = choose_device()
    log.dataset(train, "training")
    known, held_out, unseen = (load_split(path) for path in (train, validation, test))
    vae, mixture = (train_vae / f"{name}.safetensors" for name in ("model", "prior"))
    own = load_pair(vae, mixture, train_diffusevae / "model.safetensors", device)
    judge = load_classifier(classifier, device)
    study = Priors(params, known, held_out, unseen, own, judge)
    with open_trainings("priors", params, [train, validation, vae], device, log) as open_one:
        study.compare_all(open_one, log)
        study.save(out)
    log.artifact(out)
