"""Search hyper-parameters of the diffusion model on the unconditional DDPM.

python -m diffusevae.stages tune_ddpm smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors --out artifacts/smoke/tune_ddpm
"""

from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.params import override
from diffusevae.data.dataset import load_split, to_unit
from diffusevae.models.diffusion import DiffusionConfig, DiffusionModel
from diffusevae.models.unet import UNetConfig
from diffusevae.training.diffusion_training import Images, fit_diffusion
from diffusevae.training.loop import Callbacks, OptimiserConfig
from diffusevae.training.objectives import (
    NUM_IMAGES,
    floor_of_eps,
    measure_x_0_error,
    principal_variances,
    shared_levels,
)
from diffusevae.tuning.search import PRUNED, SearchConfig, name_study, save_result, search
from diffusevae.tuning.search_space import list_combinations

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "diffusion": DiffusionConfig,
    "unet": UNetConfig,
    "diffusion_optimiser": OptimiserConfig,
    "tune_ddpm": SearchConfig,
}


def run(params, *, train: Path, validation: Path, out: Path, log) -> None:
    """Write best.yaml, trials.csv and importances.csv to `out`."""
    device = choose_device()
    log.dataset(train, "tuning")
    config = params.tune_ddpm
    all_images = load_split(train).images
    images = Images(all_images[: config.num_images].to(device))
    held_out = Images(load_split(validation).images.to(device))
    shown = to_unit(held_out.x[:NUM_IMAGES])
    variances_in = {"unit": principal_variances(to_unit(all_images))}
    variances_in["centred"] = 4 * variances_in["unit"]  # 2 x - 1
    drawn = list_combinations(config.space.get("diffusion", {}), params.diffusion)
    levels = shared_levels(
        override(params.diffusion, values, "tune_ddpm.space.diffusion").schedule for values in drawn
    )

    def objective(values: dict, slot: int, report) -> None:
        diffusion, unet, optimiser = (
            override(getattr(params, name), values.get(name, {}), f"tune_ddpm.space.{name}")
            for name in ("diffusion", "unet", "diffusion_optimiser")
        )
        variances = variances_in[diffusion.image_range]
        floor = floor_of_eps(diffusion.schedule, variances)
        with log.trial(slot, values, PRUNED) as trial:

            def on_epoch(epoch: int, row: dict, model: DiffusionModel) -> None:
                fair = measure_x_0_error(model, shown, variances, params.seed, levels)
                row = row | {"validation_x_0_error": fair}
                trial.epoch(row)
                report(epoch, {"study": row["validation_noise_mse"], "fair": fair, "floor": floor})

            fit_diffusion(
                diffusion,
                unet,
                optimiser,
                images,
                held_out,
                config.epochs,
                0.0,
                params.seed,
                Callbacks(on_epoch, log.batch),
            )

    name = name_study("tune_ddpm", params, [train, validation])
    save_result(search(config, name, params.seed, vars(params), objective, log.message), out)
    log.artifact(out)
