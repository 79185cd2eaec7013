"""What a report is made of, with numbers that can be told apart."""

import dataclasses

import pandas as pd

from diffusevae.report.experiment_page import ReportInputs, TrainedModel
from diffusevae.report.page import ShownPicture
from diffusevae.report.reference_study import Scale
from tests.support.toy_artifacts import make_metrics

SIZE = (1600).to_bytes(4, "big") + (800).to_bytes(4, "big")
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + SIZE


def make_inputs(dataset: str = "mnist_16k", lpips: bool = True, **changes) -> ReportInputs:
    """Return the inputs of a report, some of them replaced."""
    history = pd.DataFrame({"epoch": [1, 2, 3], "validation_loss": [0.5, 0.25, 0.3]})
    models = {
        name: TrainedModel(digit * 64, parameters, {"image_shape": [1, 32, 32]}, history)
        for name, digit, parameters in (
            ("vae", "a", 612345),
            ("ddpm", "b", 500001),
            ("diffusevae", "c", 500002),
        )
    }
    inputs = ReportInputs(
        experiment="quickstart",
        source="mnist",
        scale=Scale(12_345, 3, 5, 1_234),
        params={
            "dataset": dataset,
            "seed": 7,
            "vae": {"kl_weight": 1e-5, "attention_levels": []},
            "vae_optimiser": {"learning_rate": 0.002},
        },
        metrics=make_metrics(lpips),
        pictures=[
            ShownPicture("First", "What it shows.", "pictures", PNG),
            ShownPicture("Second", "More.", "tuning", PNG),
        ],
        models=models,
        latent_shape=(8, 4, 4),
        best={"tune_vae": {"vae_optimiser": {"learning_rate": 0.0031}}, "tune_ddpm": {}},
        num_trials={"tune_vae": 4, "tune_ddpm": 0},
    )
    return dataclasses.replace(inputs, **changes)
