"""Draw the theory's figures on the experiment's own models. Not part of the flow.

python -m diffusevae.stages theory smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --test data/prepared/mnist_tiny/test.safetensors --train_vae artifacts/smoke/train_vae \\
    --train_ddpm artifacts/smoke/train_ddpm --train_diffusevae artifacts/smoke/train_diffusevae \\
    --classifier data/train_classifier/mnist_tiny/model.safetensors --out artifacts/smoke/theory
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split
from diffusevae.figures.drawing import figure_style
from diffusevae.models.classifier import load_classifier
from diffusevae.models.vae_config import VAEConfig
from diffusevae.sampling.generation import load_models
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.theory.early import find_early
from diffusevae.studies.theory.theory_config import TheoryConfig
from diffusevae.studies.theory.theory_study import Theory
from diffusevae.training.loop import OptimiserConfig
from diffusevae.training.stage_trainings import open_trainings

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "vae": VAEConfig,
    "vae_optimiser": OptimiserConfig,
    "sampler": SamplerConfig,
    "theory": TheoryConfig,
}


def run(
    params,
    *,
    train: Path,
    validation: Path,
    test: Path,
    train_vae: Path,
    train_ddpm: Path,
    train_diffusevae: Path,
    classifier: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write the tables and figures of every part to `out`."""
    device = choose_device()
    log.dataset(test, "testing")
    find_early(train_diffusevae)  # what is missing is said before any work
    models = load_models(train_vae, train_ddpm, train_diffusevae, device)
    network = load_classifier(classifier, device)
    paths = {"train": train, "validation": validation, "test": test}
    splits = {name: load_split(path) for name, path in paths.items()}
    theory = Theory(params, models, splits, log)
    with figure_style(), open_trainings("theory", params, [*paths.values()], device, log) as one:
        theory.follow_points()
        theory.bound_entropies()
        theory.compare_losses(one)
        theory.compare_early(train_diffusevae, network)
        theory.compare_epochs(train_vae, network)
        theory.save(out)
    log.artifact(out)
