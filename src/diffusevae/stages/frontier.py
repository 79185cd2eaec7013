"""Find the fewest steps that are proven to cost no quality that matters, on demand.

The choice is made on validation images, and confirmed once on test images: the last ones, since
tables are of the first.

python -m diffusevae.stages frontier smoke \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --test data/prepared/mnist_tiny/test.safetensors \\
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
from diffusevae.studies.frontier.confirmation import confirm
from diffusevae.studies.frontier.frontier_study import FrontierConfig

ROOT = "experiments"
SECTIONS = {"seed": int, "sampler": SamplerConfig, "frontier": FrontierConfig}


def run(
    params,
    *,
    validation: Path,
    test: Path,
    train_vae: Path,
    train_ddpm: Path,
    train_diffusevae: Path,
    classifier: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write frontier.csv and .png, default.json (the sampler, how it was confirmed), budget.*."""
    device, count = choose_device(), params.frontier.num_images
    log.dataset(validation, "validation")
    log.dataset(test, "test")
    models = load_models(train_vae, train_ddpm, train_diffusevae, device)
    network = load_classifier(classifier, device)
    images = load_split(validation).images[: 2 * count].to(device)
    others = load_split(test).images[-2 * count :].to(device)
    subject, judge = (
        frontier_results.make_subject(models, network, some, count, params.seed)
        for some in (images, others)
    )
    found = frontier_results.measure_frontier(models, subject, params, log)
    confirmation = confirm(models, found.chosen, judge, params, log)
    vae, density = (train_vae / f"{name}.safetensors" for name in ("model", "prior"))
    refiner = train_diffusevae / "model.safetensors"
    files = {"vae": vae, "prior": density, "diffusevae": refiner, "classifier": classifier}
    frontier_results.save_frontier(out, found, confirmation, params, files)
    default = confirmation.default
    frontier_results.save_budget(out, found, default, models, subject, params.seed)
    log.artifact(out)
