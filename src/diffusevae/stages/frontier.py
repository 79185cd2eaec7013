"""Find the fewest steps that cost no quality. Not part of the flow: run it when wanted.

The choice is made on validation images: on the test images the chosen model is measured.

python -m diffusevae.stages frontier smoke \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --train_vae artifacts/smoke/train_vae --train_ddpm artifacts/smoke/train_ddpm \\
    --train_diffusevae artifacts/smoke/train_diffusevae \\
    --classifier data/train_classifier/mnist_tiny/model.safetensors --out artifacts/smoke/frontier
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split
from diffusevae.models.classifier import load_classifier
from diffusevae.sampling.generation import load_models
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.frontier import frontier_results
from diffusevae.studies.frontier.frontier_study import FrontierConfig

ROOT = "experiments"
SECTIONS = {"seed": int, "sampler": SamplerConfig, "frontier": FrontierConfig}


def run(
    params,
    *,
    validation: Path,
    train_vae: Path,
    train_ddpm: Path,
    train_diffusevae: Path,
    classifier: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write frontier.csv and .png, default.json (the sampler chosen, null if none), budget.*."""
    device, count = choose_device(), params.frontier.num_images
    log.dataset(validation, "validation")
    models = load_models(train_vae, train_ddpm, train_diffusevae, device)
    network = load_classifier(classifier, device)
    images = load_split(validation).images[: 2 * count].to(device)
    subject = frontier_results.make_subject(models, network, images, count, params.seed)
    found = frontier_results.measure_frontier(models, subject, params, log)
    vae, density = (train_vae / f"{name}.safetensors" for name in ("model", "prior"))
    refiner = train_diffusevae / "model.safetensors"
    files = {"vae": vae, "prior": density, "diffusevae": refiner, "classifier": classifier}
    frontier_results.save_frontier(out, found, params, len(subject.real), files)
    frontier_results.save_budget(out, found, models, subject, params.seed)
    log.artifact(out)
