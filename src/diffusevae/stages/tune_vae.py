"""Search hyper-parameters of the VAE (SPEC section 5); `n_trials: 0` passes the base through.

python -m diffusevae.stages tune_vae smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors --out artifacts/smoke/tune_vae
"""

from pathlib import Path

from diffusevae.data import load_split
from diffusevae.device import choose_device
from diffusevae.params import override
from diffusevae.progress import identify
from diffusevae.search import SearchConfig, save_result, search
from diffusevae.training import Callbacks, OptimiserConfig
from diffusevae.vae import VAEConfig
from diffusevae.vae_training import fit_vae

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
    images = load_split(train).images[: config.num_images].to(device)
    held_out = load_split(validation).images.to(device)

    def objective(values: dict, number: int, report) -> float:
        vae = override(params.vae, values.get("vae", {}), "tune_vae.space.vae")
        optimiser = override(params.vae_optimiser, values.get("vae_optimiser", {}),
                             "tune_vae.space.vae_optimiser")  # fmt: skip
        with log.trial(number, values) as trial:
            def on_epoch(epoch: int, row: dict, _) -> None:
                trial.epoch(row)
                report(epoch, row["validation_loss"])

            _, history = fit_vae(vae, optimiser, images, held_out, config.epochs,
                                 params.seed, Callbacks(on_epoch, log.batch))  # fmt: skip
        return min(row["validation_loss"] for row in history)

    name = identify("tune_vae", params, [train, validation], without={"tune_vae": ["n_trials"]})
    save_result(search(config, name, params.seed, objective), out)
    log.artifact(out)
