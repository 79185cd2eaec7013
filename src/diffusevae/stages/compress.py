"""Compare the VAE with PCA at codes of equal size. Not part of the flow: run it when wanted.

python -m diffusevae.stages compress smoke \\
    --train data/prepared/mnist_tiny/train.safetensors \\
    --validation data/prepared/mnist_tiny/validation.safetensors \\
    --test data/prepared/mnist_tiny/test.safetensors \\
    --out artifacts/smoke/compress
"""

import math
from pathlib import Path

import pandas as pd

from diffusevae.core.device import choose_device
from diffusevae.data.dataset import load_split, to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.models.pca import fit_pca
from diffusevae.models.vae import VAEConfig, reconstruct_all, size_vae
from diffusevae.studies.compression import (
    MEASURED,
    PCA,
    VAE,
    CompressConfig,
    compare_codes,
    describe_code,
    measure_restored,
)
from diffusevae.studies.compression_figures import draw_code_sizes, draw_restored
from diffusevae.training.loop import OptimiserConfig
from diffusevae.training.stage_trainings import open_trainings
from diffusevae.training.vae_training import fit_vae

ROOT = "experiments"
SECTIONS = {
    "seed": int,
    "vae": VAEConfig,
    "vae_optimiser": OptimiserConfig,
    "compress": CompressConfig,
}
COLUMNS = 10


def run(params, *, train: Path, validation: Path, test: Path, out: Path, log) -> None:
    """Write runs.csv, table.csv, table.png and images.png to `out`."""
    device = choose_device()
    log.dataset(train, "training")
    config = params.compress
    all_images = load_split(train).images
    images = all_images[: config.num_train_images].to(device)
    held_out = load_split(validation).images.to(device)
    unseen = load_split(test).images[: config.num_test_images]
    real, pca = to_unit(unseen), fit_pca(all_images)

    with open_trainings("compress", params, [train, validation], device, log) as open_one:

        def train_one(code: tuple[int, ...], epochs: int, seed: int) -> dict:
            """Train a VAE; return its metrics per image. The first seed's images are shown."""
            name = f"{'x'.join(map(str, code))}-{seed}"
            with open_one(name, {"code": describe_code(code), "seed": seed}) as training:
                vae, _ = fit_vae(
                    size_vae(
                        params.vae,
                        code,
                        images.shape[-1],
                        config.channel_multipliers,
                        config.kl_weight,
                        "compress",
                    ),
                    params.vae_optimiser,
                    images,
                    held_out,
                    epochs,
                    seed,
                    training.callbacks(),
                    training.checkpointer,
                )
                restored = reconstruct_all(vae, unseen.to(device))
                values = measure_restored(real, restored)
                training.log.summary({name: values[name].mean() for name in MEASURED})
            shown.setdefault(f"VAE from {describe_code(code)} numbers", restored[:COLUMNS])
            return values

        rows, runs, shown = [], [], {}
        for code, epochs in zip(config.codes, config.epochs, strict=True):
            numbers = math.prod(code)
            restored = pca.reconstruct(unseen, numbers)
            shown[f"PCA from {numbers} numbers"] = restored[:COLUMNS]
            linear = measure_restored(real, restored)
            learned = [train_one(code, epochs, seed) for seed in config.seeds]
            key = {"code": describe_code(code), "numbers": numbers}
            rows.append(key | compare_codes(linear, learned, params.seed))
            for model, seed, values in [(PCA, None, linear)] + [
                (VAE, seed, values) for seed, values in zip(config.seeds, learned, strict=True)
            ]:
                means = {name: values[name].mean() for name in MEASURED}
                runs.append({"model": model, **key, "seed": seed} | means)
            log.message("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
        out.mkdir(parents=True, exist_ok=True)
        runs = pd.DataFrame(runs).astype({"seed": "Int64"})
        runs.to_csv(out / "runs.csv", index=False)
        pd.DataFrame(rows).to_csv(out / "table.csv", index=False)
        with figure_style():
            save_figure(draw_code_sizes(runs), out / "table.png")
            save_figure(draw_restored(real, shown, COLUMNS), out / "images.png")
    log.artifact(out)
