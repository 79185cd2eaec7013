"""Pictures from the models of a finished experiment, with any sampler.

What is not given is as params.yaml has it. A PNG has test images, the VAE's reconstructions,
DiffuseVAE's refinements of them, and new images.
"""

from pathlib import Path

from ruamel.yaml import YAML

from diffusevae.core.device import choose_device
from diffusevae.core.disk import require_place
from diffusevae.core.errors import InputError
from diffusevae.core.params import load_sections, override
from diffusevae.core.png import GENERATED
from diffusevae.core.tensor_file import sha256_of
from diffusevae.data.dataset import load_split
from diffusevae.experiments.experiment import load_experiment
from diffusevae.experiments.params_file import PARAMS_FILE
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.figures.image_figures import draw_gallery
from diffusevae.sampling.generation import generate_all_ways, load_models, refine_test_images
from diffusevae.sampling.sampler_config import SamplerConfig
from diffusevae.tracking.stage_logger import StageLogger

COLUMNS = 20


def draw(experiment: str, num_images: int, seed: int, out: Path, **sampler: str | None) -> None:
    """Write the picture to `out`; say how long one image took. `sampler`: options as YAML.

    Raises InputError for an option out of its range, EnvironmentFailure where there is no place for
    it.
    """
    if num_images < 1:
        raise InputError(f"num_images {num_images}: use at least 1")
    require_place(out)
    chosen = load_experiment(experiment)
    base = load_sections(PARAMS_FILE, "experiments", experiment, {"sampler": SamplerConfig})
    given = {name: YAML(typ="safe").load(text) for name, text in sampler.items() if text}
    config = override(base.sampler, given, "sampler")
    vae, ddpm, diffusevae = (
        chosen.output(stage, "") for stage in ("train_vae", "train_ddpm", "train_diffusevae")
    )
    models = load_models(vae, ddpm, diffusevae, choose_device())
    test = load_split(Path("data/prepared") / chosen.dataset / "test.safetensors")
    log = StageLogger()
    pairs = refine_test_images(models, config, test, num_images, seed, log)
    generated = generate_all_ways(models, config, num_images, seed, log)
    texts = describe_origin(experiment, diffusevae / "model.safetensors", config, seed)
    with figure_style():
        save_figure(draw_gallery(pairs, generated, min(num_images, COLUMNS)), out, texts)
    milliseconds = 1000 * log.timings["diffusevae_seconds_per_image"]
    print(f"{out}  {config.sampler}, {config.num_steps} steps, {milliseconds:.1f} ms per image")


def describe_origin(
    experiment: str, weights: Path, config: SamplerConfig, seed: int
) -> dict[str, str]:
    """Return what a picture says of itself: that it is generated, by which DiffuseVAE, and how."""
    return GENERATED | {
        "Source": "made by models, not drawn or photographed, but for the row of test images",
        "Model": f"DiffuseVAE of experiment {experiment}, SHA-256 {sha256_of(weights)}",
        "Process": f"{config.sampler}, {config.num_steps} steps, seed {seed}",
    }
