"""Distil DiffuseVAE to a few steps, and judge it. Not part of the flow: run it when wanted.

python -m diffusevae.stages distil smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --train_vae artifacts/smoke/train_vae --train_diffusevae artifacts/smoke/train_diffusevae \\
    --classifier data/train_classifier/mnist_tiny/model.safetensors --out artifacts/smoke/distil
"""

from functools import partial
from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import load_split
from diffusevae.models.classifier import load_classifier
from diffusevae.models.diffusion import save_diffusion
from diffusevae.sampling.generation import load_pair
from diffusevae.studies.distillation import distillation_results as results
from diffusevae.studies.frontier.frontier_results import make_subject
from diffusevae.training.diffusion_training import make_images
from diffusevae.training.stage_trainings import open_trainings

ROOT = "experiments"
SECTIONS = results.SECTIONS


def run(
    params,
    *,
    train: Path,
    validation: Path,
    train_vae: Path,
    train_diffusevae: Path,
    classifier: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write the students, history.csv, table.csv and .png, images.png."""
    device, count = choose_device(), params.frontier.num_images
    log.dataset(train, "training")
    vae, density = (train_vae / f"{name}.safetensors" for name in ("model", "prior"))
    refiner = train_diffusevae / "model.safetensors"
    pair = load_pair(vae, density, refiner, device)
    held_out = load_split(validation)
    network, judging = load_classifier(classifier, device), held_out.images[: 2 * count].to(device)
    subject = make_subject(pair, network, judging, count, params.seed)
    known = load_split(train).first(params.distil.num_train_images)
    unet = pair.diffusevae.unet.config
    images = make_images(known, unet, device, pair.vae, known.flips)
    others = make_images(held_out, unet, device, pair.vae)
    files = [train, validation, vae, refiner]
    with open_trainings("distil", params, files, device, log) as open_one:
        students = results.train_students(params, pair.diffusevae, images, others, open_one)
        judged = results.judge_students(pair.diffusevae, students, subject, params, log)
        save = partial(save_diffusion, vae_sha256=sha256_of(vae))
        results.save_distillation(out, students, judged, save)
    log.artifact(out)
