"""Study beta-VAEs of digits: what their latents do, and what follows. Part of the latent studies.

python -m diffusevae.stages beta_vae latents_smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --test data/prepared/mnist_tiny/test.safetensors \\
    --classifier data/train_classifier/mnist_tiny/model.safetensors \\
    --out artifacts/latents_smoke/beta_vae
"""

from pathlib import Path

import torch

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split
from diffusevae.latents.digits.digits_results import save_digits, train_kinds
from diffusevae.latents.digits.digits_study import BetaVAEConfig, Judges
from diffusevae.models.classifier import load_classifier
from diffusevae.training.stage_trainings import open_trainings

ROOT = "latent_studies"
SECTIONS = {"seed": int, "beta_vae": BetaVAEConfig}
DEVICE = torch.device("cpu")  # these models are small: the CPU trains and judges them


def run(
    params, *, train: Path, validation: Path, test: Path, classifier: Path, out: Path, log: StageLog
) -> None:
    """Write the first seed's model, its cards and archetypes, the tables and the pictures."""
    choose_device()
    log.dataset(train, "training")
    config = params.beta_vae
    split, held_out, unseen = (load_split(path) for path in (train, validation, test))
    unseen = unseen.first(config.num_test_images)
    judges = Judges.of(unseen, load_classifier(classifier))
    with open_trainings("beta_vae", params, [train, validation], DEVICE, log) as open_one:
        models = train_kinds(config, split, held_out, judges, open_one)
        save_digits(out, params, models, split, judges, log)
    log.artifact(out)
