"""Compare the ways x_hat enters the diffusion model. Not part of the flow: run it when wanted.

python -m diffusevae.stages ablate smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --test data/prepared/mnist_tiny/test.safetensors \\
    --best artifacts/smoke/tune_ddpm/best.yaml --vae artifacts/smoke/train_vae/model.safetensors \\
    --out artifacts/smoke/ablate
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import load_split
from diffusevae.models.diffusion_config import DiffusionConfig
from diffusevae.models.unet import UNetConfig
from diffusevae.models.vae import load_vae
from diffusevae.sampling.sampler_config import SamplerConfig, check_guidance
from diffusevae.studies.ablation.ablation_results import make_setting, save_ablation, train_variants
from diffusevae.studies.ablation.ablation_study import AblateConfig
from diffusevae.training.loop import OptimiserConfig
from diffusevae.training.stage_trainings import open_trainings
from diffusevae.tuning.search_space import apply_best

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "diffusion": DiffusionConfig,
    "unet": UNetConfig,
    "diffusion_optimiser": OptimiserConfig,
    "sampler": SamplerConfig,
    "ablate": AblateConfig,
}
TUNED = apply_best


def run(
    params, *, train: Path, validation: Path, test: Path, vae: Path, out: Path, log: StageLog
) -> None:
    """Write tables, metrics.json, pictures. Raises InputError for guidance nobody learns."""
    check_guidance(params.sampler, params.ablate.p_uncond)
    device = choose_device()
    log.dataset(train, "training")
    known, held_out, unseen = (load_split(path) for path in (train, validation, test))
    setting = make_setting(params, known, held_out, unseen, load_vae(vae, device), device)
    with open_trainings("ablate", params, [train, validation, vae], device, log) as open_one:
        save_ablation(out, *train_variants(setting, params, open_one), setting.test)
    log.artifact(out)
