"""Search hyper-parameters of the VAE; `n_trials: 0` passes the base through.

python -m diffusevae.stages tune_vae smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors --out artifacts/smoke/tune_vae
"""

import math
from pathlib import Path

from diffusevae.core.device import choose_device
from diffusevae.core.params import override
from diffusevae.data.dataset import load_split, to_unit
from diffusevae.models.vae import VAE, VAEConfig
from diffusevae.training.loop import Callbacks, OptimiserConfig
from diffusevae.training.objectives import bound_vae, floor_of_vae, principal_variances
from diffusevae.training.vae_training import fit_vae
from diffusevae.tuning.search import PRUNED, SearchConfig, name_study, save_result, search

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "vae": VAEConfig,
    "vae_optimiser": OptimiserConfig,
    "tune_vae": SearchConfig,
}


def run(params, *, train: Path, validation: Path, out: Path, log) -> None:
    """Write best.yaml, trials.csv and importances.csv to `out`."""
    device = choose_device()
    log.dataset(train, "tuning")
    config = params.tune_vae
    all_images = load_split(train).images
    images = all_images[: config.num_images].to(device)
    variances = principal_variances(to_unit(all_images))
    held_out = load_split(validation).images.to(device)

    def objective(values: dict, slot: int, report) -> None:
        vae = override(params.vae, values.get("vae", {}), "tune_vae.space.vae")
        optimiser = override(
            params.vae_optimiser, values.get("vae_optimiser", {}), "tune_vae.space.vae_optimiser"
        )
        with log.trial(slot, values, PRUNED) as trial:

            def on_epoch(epoch: int, row: dict, model: VAE) -> None:
                error = row.get("validation_mse", row["validation_reconstruction"])
                fair = bound_vae(error, row["validation_kl"], len(variances))
                row = row | {"validation_bits_per_dim": fair}
                trial.epoch(row)
                floor = floor_of_vae(variances, vae.kl_weight, math.prod(model.latent_shape))
                losses = {"study": row["validation_loss"], "fair": fair}
                report(epoch, losses | ({"floor": floor} if vae.reconstruction == "mse" else {}))

            fit_vae(
                vae,
                optimiser,
                images,
                held_out,
                config.epochs,
                params.seed,
                Callbacks(on_epoch, log.batch),
            )

    name = name_study("tune_vae", params, [train, validation])
    save_result(search(config, name, params.seed, vars(params), objective, log.message), out)
    log.artifact(out)
