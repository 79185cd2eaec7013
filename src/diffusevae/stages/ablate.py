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
from diffusevae.data.dataset import load_split, to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.models.diffusion import DiffusionConfig
from diffusevae.models.unet import Fuse, UNetConfig
from diffusevae.models.vae import load_vae, reconstruct_all
from diffusevae.sampling.samplers import SamplerConfig, check_guidance
from diffusevae.studies.ablation import (
    AblateConfig,
    Pairs,
    Setting,
    name_variant,
    run_variants,
    summarise_runs,
    train_variant,
)
from diffusevae.studies.ablation_figures import draw_refined, draw_variants
from diffusevae.training.diffusion_training import Images
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


def run(params, *, train: Path, validation: Path, test: Path, vae: Path, out: Path, log) -> None:
    """Write runs.csv, table.csv, table.png and images.png to `out`.

    Raises InputError for guidance that the variants do not learn.
    """
    config = params.ablate
    check_guidance(params.sampler, config.p_uncond)
    device = choose_device()
    log.dataset(train, "training")
    frozen = load_vae(vae, device)
    counts = {train: config.num_train_images, validation: None, test: config.num_test_images}
    chosen = {path: load_split(path).images[:count].to(device) for path, count in counts.items()}
    x_hats = {path: reconstruct_all(frozen, images) for path, images in chosen.items()}
    setting = Setting(
        params.diffusion,
        params.unet,
        params.diffusion_optimiser,
        params.sampler,
        Images(chosen[train], x_hats[train]),
        Images(chosen[validation], x_hats[validation]),
        Pairs(to_unit(chosen[test]), x_hats[test]),
        config.epochs,
        config.p_uncond,
    )

    with open_trainings("ablate", params, [train, validation, vae], device, log) as open_one:

        def train_one(setting: Setting, fuse: tuple[Fuse, ...], seed: int) -> tuple:
            name = f"{name_variant(fuse)}-{seed}"
            with open_one(name, {"fuse": name_variant(fuse), "seed": seed}) as training:
                row, refined = train_variant(
                    setting, fuse, seed, training.callbacks(), training.checkpointer
                )
                training.log.summary({k: v for k, v in row.items() if not isinstance(v, str)})
            return row, refined

        runs, refined = run_variants(setting, config, train_one)
        out.mkdir(parents=True, exist_ok=True)
        runs.to_csv(out / "runs.csv", index=False)
        summarise_runs(runs).to_csv(out / "table.csv", index=False)
        with figure_style():
            save_figure(draw_variants(runs), out / "table.png")
            save_figure(draw_refined(setting.test, refined), out / "images.png")
    log.artifact(out)
