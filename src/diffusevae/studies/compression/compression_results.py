"""PCA and the VAEs of every size of code, trained and compared, and the files that they leave."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from diffusevae.core.stage_log import StageLog
from diffusevae.data.dataset import Split, to_unit
from diffusevae.figures.drawing import figure_style, save_figure
from diffusevae.metrics.summary import save_summary
from diffusevae.models.pca import fit_pca
from diffusevae.models.vae import reconstruct_all
from diffusevae.models.vae_config import size_vae
from diffusevae.studies.compression.compression_figures import draw_code_sizes, draw_restored
from diffusevae.studies.compression.compression_study import (
    MEASURED,
    PCA,
    VAE,
    compare_codes,
    measure_restored,
    name_code,
)
from diffusevae.training.stage_trainings import OpenTraining
from diffusevae.training.vae_training import fit_vae

COLUMNS = 10


class Compression:
    """The comparison so far: rows of both tables, and restored images by title.

    Images are those of the splits, on the device to use where VAEs are trained with them.
    """

    def __init__(
        self,
        params: SimpleNamespace,
        train: Split,
        validation: Split,
        test: Split,
        device: torch.device,
    ) -> None:
        self.params, self.config = params, params.compress
        self.train = train.images[: self.config.num_train_images].to(device)
        self.flips = train.flips
        self.validation = validation.images.to(device)
        self.test = test.images[: self.config.num_test_images]
        self.real, self.pca = to_unit(self.test), fit_pca(train.images)
        self.rows: list[dict[str, object]] = []
        self.runs: list[dict[str, object]] = []
        self.shown: dict[str, Tensor] = {}

    def compare_all(self, open_one: OpenTraining, log: StageLog) -> None:
        """Train a VAE with every code and seed, and compare them with PCA."""
        for code, epochs in zip(self.config.codes, self.config.epochs, strict=True):
            numbers = math.prod(code)
            restored = self.pca.reconstruct(self.test, numbers)
            self.shown[f"PCA from {numbers} numbers"] = restored[:COLUMNS]
            linear = measure_restored(self.real, restored)
            seeds = self.config.seeds
            learned = [self._train_one(code, epochs, seed, open_one) for seed in seeds]
            key = {"code": name_code(code), "numbers": numbers}
            self.rows.append(key | compare_codes(linear, learned, self.params.seed))
            vaes = [(VAE, seed, values) for seed, values in zip(seeds, learned, strict=True)]
            for model, seed, values in [(PCA, None, linear), *vaes]:
                means = {name: values[name].mean() for name in MEASURED}
                self.runs.append({"model": model, **key, "seed": seed} | means)
            log.message("  ".join(f"{name} {value}" for name, value in self.rows[-1].items()))

    def save(self, out: Path) -> None:
        """Write runs.csv, table.csv, metrics.json, table.png and images.png."""
        out.mkdir(parents=True, exist_ok=True)
        runs = pd.DataFrame(self.runs).astype({"seed": "Int64"})
        runs.to_csv(out / "runs.csv", index=False)
        table = pd.DataFrame(self.rows)
        table.to_csv(out / "table.csv", index=False)
        main = [f"{name}_{of}" for name in MEASURED for of in ("pca", "vae", "change")]
        save_summary(out / "metrics.json", table, "code", main)
        with figure_style():
            save_figure(draw_code_sizes(runs), out / "table.png")
            save_figure(draw_restored(self.real, self.shown, COLUMNS), out / "images.png")

    def _train_one(
        self, code: tuple[int, ...], epochs: int, seed: int, open_one: OpenTraining
    ) -> dict[str, np.ndarray]:
        """Train a VAE; return its metrics per image. The first seed's images are shown."""
        name = f"{'x'.join(map(str, code))}-{seed}"
        config, size = self.config, self.train.shape[-1]
        sized = size_vae(
            self.params.vae, code, size, config.channel_multipliers, config.kl_weight, "compress"
        )
        with open_one(name, {"code": name_code(code), "seed": seed}) as training:
            vae, _ = fit_vae(
                sized,
                self.params.vae_optimiser,
                self.train,
                self.validation,
                epochs,
                seed,
                training.callbacks(),
                training.checkpointer,
                flips=self.flips,
            )
            restored = reconstruct_all(vae, self.test.to(self.train.device))
            values = measure_restored(self.real, restored)
            training.log.summary({name: values[name].mean() for name in MEASURED})
        self.shown.setdefault(f"VAE from {name_code(code)} numbers", restored[:COLUMNS])
        return values
