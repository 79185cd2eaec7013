"""The autoencoder family: every member trained, measured and compared. Of the latent studies.

python -m diffusevae.stages autoencoders latents_smoke \\
    --train data/prepared/mnist_tiny/train.safetensors --nuclei data/raw/nuclei \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --test data/prepared/mnist_tiny/test.safetensors --out artifacts/latents_smoke/autoencoders \\
    --other_train data/prepared/fashion_mnist_tiny/train.safetensors \\
    --other_test data/prepared/fashion_mnist_tiny/test.safetensors \\
    --classifier data/train_classifier/mnist_tiny/model.safetensors \\
    --train_vae artifacts/smoke/train_vae --train_diffusevae artifacts/smoke/train_diffusevae
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.latents.autoencoders.family import FamilyConfig
from diffusevae.latents.autoencoders.family_results import list_sources, load_given, save_family
from diffusevae.latents.models.threads import use_one_thread
from diffusevae.training.stage_trainings import open_trainings

ROOT = "latent_studies"
SECTIONS = {"seed": int, "dataset": str, "other_dataset": str, "autoencoders": FamilyConfig}


def run(
    params,
    *,
    classifier: Path,
    train_vae: Path,
    train_diffusevae: Path,
    nuclei: Path,
    train: Path,
    validation: Path,
    test: Path,
    other_train: Path,
    other_test: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write the chapter with its figures and tables to `out`. Raises InputError."""
    use_one_thread()
    device = choose_device()
    log.dataset(train, "training")
    sets = dict(train=train, validation=validation, test=test)
    sets |= dict(other_train=other_train, other_test=other_test)
    given = load_given(params, sets, classifier, train_vae, train_diffusevae, nuclei, device)
    sources = list_sources(sets, nuclei)
    with open_trainings("autoencoders", params, sources, device, log) as open_one:
        save_family(out, params.autoencoders, given, open_one, log)
    log.artifact(out)
