"""See what DiffuseVAE makes of damaged inputs. Not part of the flow: run it when wanted.

python -m diffusevae.stages robustness smoke \\
    --test data/prepared/mnist_tiny/test.safetensors --train_vae artifacts/smoke/train_vae \\
    --train_diffusevae artifacts/smoke/train_diffusevae \\
    --classifier data/train_classifier/mnist_tiny/model.safetensors --out artifacts/smoke/robustness
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split, to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.models.classifier import load_classifier
from diffusevae.sampling.generation import load_pair
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.studies.robustness.robustness_figures import draw_cases, draw_ladders
from diffusevae.studies.robustness.robustness_study import RobustnessConfig, measure_robustness

ROOT = "experiments"
SECTIONS = {"seed": int, "sampler": SamplerConfig, "robustness": RobustnessConfig}


def run(
    params,
    *,
    test: Path,
    train_vae: Path,
    train_diffusevae: Path,
    classifier: Path,
    out: Path,
    log: StageLog,
) -> None:
    """Write table.csv, table.png and images.png to `out`."""
    device, config = choose_device(), params.robustness
    log.dataset(test, "testing")
    vae, density = (train_vae / f"{name}.safetensors" for name in ("model", "prior"))
    pair = load_pair(vae, density, train_diffusevae / "model.safetensors", device)
    network = load_classifier(classifier, device)
    split, count = load_split(test), config.num_images
    images, labels = to_unit(split.images[:count]), split.labels[:count]
    table, shown = measure_robustness(
        pair, network, params.sampler, config, images, labels, params.seed, log.message
    )
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "table.csv", index=False)
    with figure_style():
        save_figure(draw_ladders(table), out / "table.png")
        save_figure(draw_cases(shown), out / "images.png")
    log.artifact(out)
